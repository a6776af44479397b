"""Load a chat model as anybody does, and print how it answers a question.

Usage: python stranger.py FOLDER_OR_REPOSITORY QUESTION [GGUF]; it knows nothing of this program
"""

from __future__ import annotations

import sys

from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    file = sys.argv[3] if len(sys.argv) > 3 else None
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], gguf_file=file, device_map="cpu")
    messages = [{"role": "user", "content": sys.argv[2]}]
    tokens = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    made = model.generate(**tokens, do_sample=False, max_new_tokens=48)
    print(tokenizer.decode(made[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True))


if __name__ == "__main__":
    main()
