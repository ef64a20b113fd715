"""Facial-expression recognition on edge chips: one bundle, the same answers everywhere."""

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
    ParityError,
    RecipeError,
    TargetError,
    TrainingError,
)
from fer_edge.labels import EMOTIONS
from fer_edge.predictor import Predictor, VariantChoice
from fer_edge.preprocess import read_image
from fer_edge.results import Prediction, Times
from fer_edge.shipped import DEFAULT_BUNDLE

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_BUNDLE",
    "EMOTIONS",
    "Bundle",
    "BundleError",
    "CheckpointError",
    "ConversionError",
    "DataError",
    "EngineError",
    "FerEdgeError",
    "InputError",
    "LabelError",
    "LimitError",
    "MissingDependencyError",
    "ParityError",
    "Prediction",
    "Predictor",
    "RecipeError",
    "TargetError",
    "Times",
    "TrainingError",
    "Variant",
    "VariantChoice",
    "open_bundle",
    "read_image",
]
