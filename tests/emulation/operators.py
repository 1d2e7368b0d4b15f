"""Run models on fixed inputs and print what they give, by digest: on the host and on every core.

    python3 operators.py [--kernels LIBRARY] MODEL ...

The inputs of ``x.onnx`` lie in ``x.npz``, and perhaps what is ``expected``: then it says by how
much the result differs. Under the counting plugin it also says how many instructions a run takes.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from edgellm.measure.emulation import open_emulated
from edgellm.runner.session import Engine, open_session


def run(path, counter, kernels):
    session = open_session(path, Engine(threads=1, kernels=kernels))
    inputs = dict(np.load(path.with_suffix(".npz")))
    expected = inputs.pop("expected", None)
    outputs = session.run(None, inputs)
    found = {"sha256": [hashlib.sha256(output.tobytes()).hexdigest() for output in outputs]}
    if expected is not None:
        error = np.square(outputs[0] - expected).mean() / np.square(expected).mean()
        found["error"] = float(np.sqrt(error))
    if counter is not None:
        before = counter.read(0)[0].value
        session.run(None, inputs)
        found["instructions"] = counter.read(0)[0].value - before
    return found


kernels, paths = None, sys.argv[1:]
if paths[0] == "--kernels":
    _, kernels, *paths = paths
counter = open_emulated()
json.dump([run(Path(path), counter, kernels) for path in paths], sys.stdout)
