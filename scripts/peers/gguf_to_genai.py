"""Build onnxruntime-genai's model with its own builder and defaults, in its environment.

``python gguf_to_genai.py SOURCE.gguf OUTPUT int4``: transformers reads the weights, since the
builder takes a Hugging Face folder.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    """Write the folder."""
    source, output, precision = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    with tempfile.TemporaryDirectory() as place:
        model = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32
        )
        # The weights are float by now; transformers refuses to save what once was quantized.
        model.hf_quantizer = None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(place)
        AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(place)
        builder = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", place]
        options = ["-o", output, "-p", precision, "-e", "cpu", "-c", f"{place}/cache"]
        subprocess.run([*builder, *options, "--extra_options", "hf_token=false"], check=True)


if __name__ == "__main__":
    main()
