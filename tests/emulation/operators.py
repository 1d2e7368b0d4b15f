"""Run models on fixed inputs and print what they give, by digest: on the host and on every core.

    python3 operators.py MODEL ...

The inputs of ``x.onnx`` lie in ``x.npz``. Under the counting plugin it also says how many
instructions one run takes.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).parents[2]))
from edgellm.measure.emulation import open_emulated


def run(path, counter):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = dict(np.load(path.with_suffix(".npz")))
    outputs = session.run(None, inputs)
    found = {"sha256": [hashlib.sha256(output.tobytes()).hexdigest() for output in outputs]}
    if counter is not None:
        before = counter.read(0)[0].value
        session.run(None, inputs)
        found["instructions"] = counter.read(0)[0].value - before
    return found


counter = open_emulated()
json.dump([run(Path(path), counter) for path in sys.argv[1:]], sys.stdout)
