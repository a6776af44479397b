"""The recipe: what an author wrote, typed, with every mistake in it told at once and in its place."""

from pipeline.recipe.budget import Budget, BudgetTarget
from pipeline.recipe.editor import json_schema
from pipeline.recipe.include import is_included
from pipeline.recipe.load import (
    Loaded,
    load,
    place_of_target,
    problem_at,
    problems,
    problems_of_included,
    read_quantization,
    read_recipe,
)
from pipeline.recipe.problems import InvalidRecipe, Problem
from pipeline.recipe.prompts import Prompt, read_prompts
from pipeline.recipe.schema import (
    Compile,
    DatasetPrompts,
    Device,
    FolderLora,
    FolderSource,
    HubLora,
    HubSource,
    InBrowser,
    Quantization,
    Recipe,
    Validation,
)
from pipeline.recipe.vocabulary import SchemeRules, TaskRules, Vocabulary

__all__ = [
    "Budget",
    "BudgetTarget",
    "Compile",
    "DatasetPrompts",
    "Device",
    "FolderLora",
    "FolderSource",
    "HubLora",
    "HubSource",
    "InBrowser",
    "InvalidRecipe",
    "Loaded",
    "Problem",
    "Prompt",
    "Quantization",
    "Recipe",
    "SchemeRules",
    "TaskRules",
    "Validation",
    "Vocabulary",
    "is_included",
    "json_schema",
    "load",
    "place_of_target",
    "problem_at",
    "problems",
    "problems_of_included",
    "read_prompts",
    "read_quantization",
    "read_recipe",
]
