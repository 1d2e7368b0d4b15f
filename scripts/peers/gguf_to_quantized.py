"""Requantize a GGUF file with llama.cpp's own quantizer, in llama.cpp's environment.

``python gguf_to_quantized.py SOURCE.gguf OUTPUT.gguf Q8_0``
"""

import ctypes
import sys

import llama_cpp


def main() -> None:
    """Write the file, or end with a status."""
    source, output, kind = sys.argv[1:]
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    params.allow_requantize = True  # the source may be quantized already
    status = llama_cpp.llama_model_quantize(source.encode(), output.encode(), ctypes.byref(params))
    if status:
        sys.exit(f"llama.cpp could not requantize {source} to {kind}: status {status}")


if __name__ == "__main__":
    main()
