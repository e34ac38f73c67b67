"""Why an image or a row was flagged, and where in an image the reason lies."""

from sklearn_gauss.inspection._anomaly_maps import anomaly_maps
from sklearn_gauss.inspection._explain import explain
from sklearn_gauss.inspection._gradient_map import gradient_map
from sklearn_gauss.inspection._occlusion_map import occlusion_map
from sklearn_gauss.inspection._perturbed_features import perturbed_features

__all__ = [
    "anomaly_maps",
    "explain",
    "gradient_map",
    "occlusion_map",
    "perturbed_features",
]
