"""A process that publishes sixty tasks in small batches, to be killed: store, ingest, project, selection."""

import sys
from dataclasses import replace

from hilum.adapters.label_studio import publishing
from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.store.layout import Store
from hilum.testing.phantoms import Phantom, phantom_tasks

if __name__ == "__main__":
    url, ingest_id, project, selection_id = sys.argv[1:]
    publishing.BATCH_TASKS = 4
    store = Store(url)
    asked = phantom_tasks(store, ingest_id, Phantom("segment", 2, num_frames=60), num=60)
    annotator = LabelStudio(store, ingest_id, project=project)
    print("ready", flush=True)
    annotator.publish([replace(task, selection_id=selection_id) for task in asked])
