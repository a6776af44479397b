"""llama.cpp itself, called by ctypes: it loads a file, cuts a text into tokens, and tells what it expects next."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, RTLD_GLOBAL, c_bool, c_char_p, c_float, c_int32, c_void_p
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.packing import ggml

VOCABULARY_ONLY = 72  # the byte of a model's parameters that says so


class Settings(ctypes.Structure):
    """Parameters of a model or a context as the library gives and takes them; larger than either of its structures."""

    _fields_ = (("content", ctypes.c_char * 512),)


@cache
def library() -> ctypes.CDLL:
    """Return llama.cpp on a processor; a test without it is skipped, and fails where CI is set."""
    base, processor, llama = map(ggml.fetched, ggml.LLAMA)
    found = ctypes.CDLL(str(base), mode=RTLD_GLOBAL)
    found.ggml_backend_load.argtypes, found.ggml_backend_load.restype = [c_char_p], c_void_p
    assert found.ggml_backend_load(str(processor).encode())
    loaded = ctypes.CDLL(str(llama))
    for name, given, result in (
        ("llama_model_default_params", (), Settings),
        ("llama_context_default_params", (), Settings),
        ("llama_model_load_from_file", (c_char_p, Settings), c_void_p),
        ("llama_model_free", (c_void_p,), None),
        ("llama_init_from_model", (c_void_p, Settings), c_void_p),
        ("llama_free", (c_void_p,), None),
        ("llama_set_n_threads", (c_void_p, c_int32, c_int32), None),
        ("llama_model_get_vocab", (c_void_p,), c_void_p),
        ("llama_vocab_n_tokens", (c_void_p,), c_int32),
        ("llama_tokenize", (c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool), c_int32),
        ("llama_batch_get_one", (POINTER(c_int32), c_int32), Settings),
        ("llama_decode", (c_void_p, Settings), c_int32),
        ("llama_get_logits_ith", (c_void_p, c_int32), POINTER(c_float)),
    ):
        function = getattr(loaded, name)
        function.argtypes, function.restype = given, result
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, c_char_p, c_void_p)(lambda *_: None)
    loaded.llama_log_set(quiet, None)
    loaded.quiet = quiet  # which is called as long as the library is there
    return loaded


class Model:
    """A model of a file.

    Args:
        path: The file.
        vocabulary: Whether nothing else of it is read.
    """

    def __init__(self, path: Path, *, vocabulary: bool = False) -> None:
        self._library = library()
        settings = self._library.llama_model_default_params()
        c_bool.from_buffer(settings, VOCABULARY_ONLY).value = vocabulary
        self._model = self._library.llama_model_load_from_file(str(path).encode(), settings)
        assert self._model, f"llama.cpp does not load {path}"
        self._vocabulary = self._library.llama_model_get_vocab(self._model)

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text, with those that the file says begin and end it."""
        content, found = text.encode(), (c_int32 * 1024)()
        count = self._library.llama_tokenize(self._vocabulary, content, len(content), found, 1024, True, True)
        return found[:count]

    def expected(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits of what follows tokens."""
        context = self._library.llama_init_from_model(self._model, self._library.llama_context_default_params())
        self._library.llama_set_n_threads(context, 1, 1)
        content = (c_int32 * len(tokens))(*tokens)  # which the batch only points to
        batch = self._library.llama_batch_get_one(content, len(tokens))
        assert self._library.llama_decode(context, batch) == 0
        logits = self._library.llama_get_logits_ith(context, -1)
        found = np.ctypeslib.as_array(logits, (self._library.llama_vocab_n_tokens(self._vocabulary),)).copy()
        self._library.llama_free(context)
        return found
