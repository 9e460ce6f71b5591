"""The same network behind LitServe, which batches requests too: ``python litserve_peer.py PORT`` beside the service.

Images come as LitServe takes them, in JSON (Base64 of ``.npy``). The network, its layout, the normalisation and what is
told of an image are ours.
"""

import base64
import io
import sys

import litserve
import numpy as np
from bench_serving import SMALL, UNETPP

from hilum.nn.kept_memory import keep_freed_memory
from hilum.nn.normalise import normalise
from hilum.nn.passes import entropy
from hilum.nn.predictor import Predictor, network_of_card

BATCH_SIZE, BATCH_SECONDS = 8, 0.005


class Scoring(litserve.LitAPI):
    """How unsure the network is of every image of a batch."""

    def setup(self, device: str) -> None:
        keep_freed_memory()
        card = {
            "question": SMALL.question,
            "architecture": UNETPP,
            "spatial_dims": SMALL.spatial_dims,
            "in_channels": 1,
            "num_classes": len(SMALL.class_names),
        }
        self.predictor = Predictor(network_of_card(card, seed=0), card, lies_last=True)

    def decode_request(self, request: dict[str, str]) -> np.ndarray:
        image_ZYX = np.load(io.BytesIO(base64.b64decode(request["image"])), allow_pickle=False).astype(np.float32)
        return normalise(image_ZYX, *np.percentile(image_ZYX, [0.5, 99.5]))

    def batch(self, images: list[np.ndarray]) -> np.ndarray:
        return np.stack(images)[:, None]

    def predict(self, images_NCZYX: np.ndarray) -> np.ndarray:
        probs_NCZYX = self.predictor.predict(images_NCZYX)[0]
        return np.array([entropy(probs_CZYX).mean() for probs_CZYX in probs_NCZYX])

    def unbatch(self, scores_N: np.ndarray) -> list[float]:
        return [float(score) for score in scores_N]

    def encode_response(self, score: float) -> dict[str, float]:
        return {"score": score}


if __name__ == "__main__":
    server = litserve.LitServer(Scoring(max_batch_size=BATCH_SIZE, batch_timeout=BATCH_SECONDS), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
