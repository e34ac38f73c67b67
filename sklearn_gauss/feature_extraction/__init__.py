"""Features of images: a convolutional network as a transformer."""

from sklearn_gauss.feature_extraction._cnn import CNNFeatureExtractor

__all__ = ["CNNFeatureExtractor"]
