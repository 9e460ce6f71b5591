"""A FastAPI application that does nothing, behind Ray Serve: ``python empty_serve.py PORT``, until its input ends."""

import sys

import ray
from fastapi import FastAPI, Request
from ray import serve

application = FastAPI()


@application.post("/")
async def nothing(request: Request) -> dict[str, int]:
    """How long the body was."""
    return {"bytes": len(await request.body())}


@serve.deployment(max_ongoing_requests=1024, logging_config={"enable_access_log": False})
@serve.ingress(application)
class Nothing:
    """Answers at once."""


if __name__ == "__main__":
    ray.init(include_dashboard=False, logging_level="ERROR")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config={"log_level": "WARNING"})
    serve.run(Nothing.bind())
    print("Listening", flush=True)
    sys.stdin.read()
