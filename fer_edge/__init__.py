"""Facial-expression recognition on edge chips: one bundle, the same answers everywhere."""

# ruff: noqa: E402
import logging

from fer_edge.libraries import check_opencv, draw_into_files

check_opencv()
draw_into_files()

from fer_edge.analysis import Analysis, FaceAnalysis, analyze
from fer_edge.bundle import Bundle, Variant, open_bundle
from fer_edge.errors import (
    BundleError,
    CheckpointError,
    ConversionError,
    DataError,
    EngineError,
    FerEdgeError,
    InputError,
    LabelError,
    LimitError,
    MissingDependencyError,
    MissingPartError,
    ParityError,
    RecipeError,
    SourceError,
    TargetError,
    TrainingError,
)
from fer_edge.labels import EMOTIONS
from fer_edge.loaded import VariantChoice
from fer_edge.predictor import Predictor
from fer_edge.preprocess import read_image
from fer_edge.results import Prediction, Times
from fer_edge.shipped import DEFAULT_BUNDLE

__version__ = "0.1.0"
"""Version of the package; the metadata of the wheel is read from this line."""

# An application that configures no logging sees nothing, warnings included.
logging.getLogger("fer_edge").addHandler(logging.NullHandler())

__all__ = [
    "DEFAULT_BUNDLE",
    "EMOTIONS",
    "Analysis",
    "Bundle",
    "BundleError",
    "CheckpointError",
    "ConversionError",
    "DataError",
    "EngineError",
    "FaceAnalysis",
    "FerEdgeError",
    "InputError",
    "LabelError",
    "LimitError",
    "MissingDependencyError",
    "MissingPartError",
    "ParityError",
    "Prediction",
    "Predictor",
    "RecipeError",
    "SourceError",
    "TargetError",
    "Times",
    "TrainingError",
    "Variant",
    "VariantChoice",
    "analyze",
    "open_bundle",
    "read_image",
]
