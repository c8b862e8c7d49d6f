"""The prediction that belongs beside a measurement: from a sample's N, d and norms, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkscope._base.arrays import as_numpy
from ntkscope.networks.network import Network
from ntkscope.prediction.isotropy import Isotropy, isotropy
from ntkscope.prediction.predict import predict_smallest_eigenvalue
from ntkscope.prediction.result import Prediction
from ntkscope.report.result import Result


@dataclass(frozen=True)
class SamplePrediction(Result):
    """λ_min of the limiting kernel predicted for a sample, or why there is none.

    prediction: None where it is refused. isotropy: the test of the sample's directions, None where
    none was made. refused: the reason, empty with a prediction. empirical: the same at the
    network's own widths, None where they are outside what was measured (``empirical_refused``).
    """

    prediction: Prediction | None
    isotropy: Isotropy | None
    refused: str = ""
    empirical: Prediction | None = None
    empirical_refused: str = ""

    def __str__(self) -> str:
        return str(self.prediction) if self.prediction is not None else f"refused: {self.refused}"


def predict_for_sample(
    net: Network, X: Any, nearest_angle: float | None = None
) -> SamplePrediction:
    """Predict λ_min of ``limiting_ntk(net, X)``, X of shape (N, d), from N, d and the rows' norms.

    Data whose directions are far from uniform are refused: the predictor would be wrong by orders
    of magnitude there. So are networks that it does not cover; neither raises.
    """
    if X.shape[1] < 2 or len(X) < 2:
        return SamplePrediction(None, None, f"needs N ≥ 2 and d ≥ 2, got {tuple(X.shape)}")
    norms = np.linalg.norm(as_numpy(X), axis=1)
    if bool((norms == 0).any()):
        return SamplePrediction(None, None, f"{int((norms == 0).sum())} rows are zero")
    found = isotropy(X, nearest_angle)
    if not found.isotropic:
        return SamplePrediction(None, found, found.reason)
    try:
        made = predict_smallest_eigenvalue(net, len(X), data=norms)
    except ValueError as error:
        return SamplePrediction(None, found, str(error))
    try:
        finite = predict_smallest_eigenvalue(net, len(X), data=norms, kernel="empirical")
    except ValueError as error:
        return SamplePrediction(made, found, empirical_refused=str(error))
    return SamplePrediction(made, found, empirical=finite)
