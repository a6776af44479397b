"""Tasks: what a model is for, and with that what a question and an answer are.

Importing them imports no library of models, so that recipes can be checked and planned on a machine that has none.
"""

from __future__ import annotations

from pipeline.tasks.automatic_speech_recognition import AUTOMATIC_SPEECH_RECOGNITION
from pipeline.tasks.feature_extraction import FEATURE_EXTRACTION
from pipeline.tasks.image_text_to_text import IMAGE_TEXT_TO_TEXT
from pipeline.tasks.image_to_image import IMAGE_TO_IMAGE, INPAINTING
from pipeline.tasks.protocol import Task
from pipeline.tasks.text_generation import TEXT_GENERATION
from pipeline.tasks.text_to_image import TEXT_TO_IMAGE
from pipeline.tasks.text_to_video import TEXT_TO_VIDEO

TASKS: dict[str, Task] = {
    "text-to-image": TEXT_TO_IMAGE,
    "image-to-image": IMAGE_TO_IMAGE,
    "inpainting": INPAINTING,
    "text-to-video": TEXT_TO_VIDEO,
    "feature-extraction": FEATURE_EXTRACTION,
    "text-generation": TEXT_GENERATION,
    "image-text-to-text": IMAGE_TEXT_TO_TEXT,
    "automatic-speech-recognition": AUTOMATIC_SPEECH_RECOGNITION,
}

__all__ = ["TASKS", "Task"]
