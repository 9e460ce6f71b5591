"""Run a model that `hilum model export --to onnx` wrote, with numpy and onnxruntime alone.

python run_onnx.py model.onnx image.npy LOW HIGH answer.npy

image.npy: voxels (C, Y, X), or (C, Z, Y, X) for a 3D model, as they were measured. LOW and HIGH are
the grey levels that become 0 and 1; the file's `normalisation` and `window` say how hilum chose them.
"""

import json
import sys

import numpy as np
import onnxruntime

model_file, image_file, low, high, answer_file = sys.argv[1:]
low, high = float(low), float(high)

session = onnxruntime.InferenceSession(model_file, providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map

image = np.load(image_file, allow_pickle=False).astype(np.float32)
image = np.clip((image - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)

(probabilities,) = session.run(["probabilities"], {"images": image[None]})
np.save(answer_file, probabilities[0])

names = json.loads(about["class_names"])
found = np.bincount(probabilities[0].argmax(axis=0).ravel(), minlength=len(names))
for name, share in zip(names, found / found.sum(), strict=True):
    sys.stdout.write(f"{name}: {share:.1%}\n")
