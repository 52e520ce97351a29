"""A GGUF file as a folder that a language model is read from: ``gguf_to_folder.py FILE FOLDER``.

It needs the package ``gguf``. Weights are written in full precision, as safetensors.
"""

import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

if __name__ == "__main__":
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    named = {"gguf_file": source.name}
    read = AutoModelForCausalLM.from_pretrained(str(source.parent), dtype="float32", **named)
    config = read.config
    del config.quantization_config  # the weights are whole numbers of bits no more
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(source.parent), **named).save_pretrained(folder)
