"""What ``without_anomalies.py`` prints: scores of a product, and what rules make of them.

One fit has every set of drawn defects in it. Its scores are kept, so that rules, kinds
and severities are compared without another fit.
"""

import tempfile
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import binomtest, pearsonr, spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from sklearn_gauss._numerics.calibration import order_statistic
from sklearn_gauss._numerics.stacking import ScoreTable, auroc_by_kind, combined
from sklearn_gauss._numerics.stacking import find_weights as weights_by
from sklearn_gauss.datasets import SyntheticDefects
from sklearn_gauss.datasets._synthetic_kinds import SYNTHETIC_KINDS
from sklearn_gauss.detection import DetectorEnsemble
from sklearn_gauss.detection._weighing import weigh
from sklearn_gauss.inspector import make_inspector

TARGET_FPR = 0.05
KINDS = list(SYNTHETIC_KINDS)
#: Defects of drawn products that a kind of another name resembles.
ALIKE = {"contamination": "blotch", "distortion": "warp", "bent": "warp"}
SEVERITIES = [(0.15, 0.3), (0.3, 0.6), (0.6, 1.0), (1.0, 2.0)]
#: Images that each severity is drawn on, at most.
FEW = 150
PLAIN = "mean_levels"
RULES = ("sum", "best", "stacked")


@dataclass
class Product:
    """Normal images, and test images with the name of each one's defect, or "good"."""

    name: str
    train: Any
    test: Any
    defect: np.ndarray
    kinds: list


class DrawnSets:
    """Several sets of drawn defects as one; a kind is called SET/KIND.

    ``sets`` has for each name a `SyntheticDefects` and the number of images to draw on.
    """

    def __init__(self, sets):
        self.sets = sets

    def draw(self, X):
        """Plan the defects of all sets."""
        parts = [
            (name, defects.draw(X[:most])) for name, (defects, most) in self.sets.items()
        ]
        return Bunch(
            X=[image for _, part in parts for image in part.X],
            kind=np.array(
                [f"{name}/{kind}" for name, part in parts for kind in part.kind]
            ),
            source=np.concatenate([part.source for _, part in parts]),
        )

    def vary(self, X):
        """Plan the variations of the first set."""
        return next(iter(self.sets.values()))[0].vary(X)


class RecordedEnsemble(DetectorEnsemble):
    """An ensemble that keeps the scores which it learns weights from."""

    def _fit_members(self, examples, folds):
        fits = super()._fit_members(examples, folds)
        self.record_ = Record(
            [
                Bunch(
                    names=fit.names,
                    normal=fit.normal,
                    other=fit.other,
                    left_out=fit.left_out,
                )
                for fit in fits
            ],
            replace(examples, normal=None, other=None),
            folds,
        )
        return fits


@dataclass
class Record:
    """Scores of normal rows and examples, as ``weigh`` takes them."""

    fits: list
    examples: Any
    folds: Any

    @property
    def names(self):
        """Names of the scores."""
        return [name for fit in self.fits for name in fit.names]

    def scores(self, which):
        """Scores (n, m) of "normal" rows, of "other" ones, or those "left_out"."""
        return np.column_stack([fit[which] for fit in self.fits])

    def only(self, chosen):
        """The record with those defects alone whose set and kind are ``chosen``."""
        bad, kinds = self.examples.defective, self.examples.kinds
        keep = [not b or chosen(*k.split("/")) for b, k in zip(bad, kinds, strict=True)]
        keep = np.array(keep)
        return replace(
            self,
            examples=replace(self.examples, defective=bad[keep], kinds=kinds[keep]),
            folds=replace(self.folds, other=self.folds.other[keep]),
            fits=[Bunch(**{**fit, "other": fit.other[keep]}) for fit in self.fits],
        )

    def table(self):
        """The scores as ``find_weights`` takes them."""
        bad, kinds = self.examples.defective, self.examples.kinds
        other = self.scores("other")
        return ScoreTable(
            self.scores("normal"),
            self.scores("left_out"),
            other[bad],
            kinds[bad],
            other[~bad],
            self.folds.normal,
            self.folds.other[bad],
        )

    def drawn_auroc(self):
        """Mean AUROC over kinds of every score."""
        return auroc_by_kind(self.table()).mean(axis=1)

    def weigh(self, rule):
        """Weights, calibration scores and the ensemble's report by a rule."""
        return weigh(self.fits, self.examples, self.folds, rule=rule)


def recorded(network, cache, defects):
    """The default recipe, unfitted, that keeps its scores and its features."""
    inspector = make_inspector(**network, cache=cache, defects=defects)
    return RecordedEnsemble(**inspector.get_params(deep=False))


def real_auroc(scores, good):
    return float(roc_auc_score(~good, -scores))


def rate(flagged):
    """Share of flagged images with its 95 % interval (Clopper and Pearson)."""
    found = binomtest(int(flagged.sum()), len(flagged))
    interval = found.proportion_ci()
    return [found.statistic, float(interval.low), float(interval.high)]


def rules_of(record, scores, good):
    """Weights and threshold of every rule, with its AUROC on drawn defects."""
    columns = {PLAIN: record.names.index(PLAIN)}
    columns["hindsight"] = int(np.argmax([real_auroc(s, good) for s in scores.T]))
    drawn, found = record.drawn_auroc(), {}
    for rule, column in columns.items():
        weights = np.eye(len(record.names))[column]
        threshold = order_statistic(record.scores("left_out")[:, column], TARGET_FPR)
        found[rule] = Bunch(weights=weights, threshold=threshold, drawn=drawn[column])
    for rule in RULES:
        one = record.weigh(rule)
        found[rule] = Bunch(
            weights=one.weights,
            threshold=order_statistic(one.calibration_scores, TARGET_FPR),
            drawn=one.selection.held_out_auroc[rule],
        )
    return found


def judged(rules, names, scores, good):
    """AUROC and rate of false positives of every rule on test images."""
    found = {}
    for name, rule in rules.items():
        values = combined(scores, rule.weights)
        single = np.count_nonzero(rule.weights) == 1
        found[name] = {
            "score": names[int(rule.weights.argmax())] if single else "",
            "auroc": real_auroc(values, good),
            "drawn": float(rule.drawn),
            "fpr": rate(values[good] < rule.threshold),
        }
    return found


def logistic(record, scores, good):
    """AUROC of a logistic regression between normal and drawn rows."""
    table = record.table()
    rows = np.concatenate([table.normal, table.varied, table.defective])
    bad = np.arange(len(rows)) >= len(rows) - len(table.defective)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    model.fit(rows, bad)
    return real_auroc(-model.decision_function(scores), good)


def learned(record, scores, good):
    """What a set of drawn defects leads to."""
    table, drawn = record.table(), record.drawn_auroc()
    real = [real_auroc(s, good) for s in scores.T]
    best = int(drawn.argmax())
    every = np.full(len(record.names), True)
    stacked = combined(scores, weights_by(table, "stacked", every))
    return {
        "rows": len(table.defective),
        "drawn": float(drawn[best]),
        "score": record.names[best],
        "best": real[best],
        "stacked": real_auroc(stacked, good),
        "spearman": float(spearmanr(drawn, real).statistic),
    }


def sets_of(record, main, severities, scores, good):
    """What each kind of drawn defect, all but each, and each severity lead to."""
    chosen = {"all kinds": lambda name, kind: name == "all"}
    if set(main) != set(KINDS):
        chosen["unseen kinds"] = lambda name, kind: name == "all" and kind in main
    for one in main:
        chosen[f"only {one}"] = lambda name, kind, one=one: (name, kind) == ("all", one)
    for one in main:
        chosen[f"without {one}"] = lambda name, kind, one=one: (
            name == "all" and kind in main and kind != one
        )
    for low, high in severities:
        chosen[f"severity {low} to {high}"] = lambda name, kind, low=low: name == str(low)
    return {
        title: learned(record.only(some), scores, good) for title, some in chosen.items()
    }


def by_defect(rules, names, scores, defect):
    """AUROC of every rule for each real defect, and of the best score for it."""
    good, found = defect == "good", {}
    for kind in dict.fromkeys(defect[~good]):
        some = good | (defect == kind)
        one = {
            name: real_auroc(combined(scores[some], rule.weights), good[some])
            for name, rule in rules.items()
        }
        each = [real_auroc(s, good[some]) for s in scores[some].T]
        best = int(np.argmax(each))
        found[str(kind)] = one | {"best for it": each[best], "score": names[best]}
    return found


def lighter(pixels, rng):
    return 1.2 * pixels


def noisy(pixels, rng):
    return pixels + rng.normal(scale=6.0, size=pixels.shape)


def blurred(pixels, rng):
    sigma = 0.005 * min(pixels.shape[:2])
    return gaussian_filter(pixels, (sigma, sigma, 0))


SHIFTS = {
    "20 % more light": lighter,
    "noise of 6 grey levels": noisy,
    "blur of 0.5 % of the side": blurred,
}


def shifted(images, shift):
    """Test images under other conditions than the normal ones."""
    rng, found = np.random.default_rng(0), []
    for image in images:
        pixels = image
        if isinstance(image, str):
            pixels = np.asarray(Image.open(image).convert("RGB"))
        values = shift(pixels.astype(float), rng)
        found.append(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    return found


def subset(product, network, cache, main, n, seed):
    """AUROC and false positives of the rules after a fit to some of the normal images."""
    rng = np.random.default_rng([n, seed])
    some = rng.permutation(len(product.train))[:n]
    defects = DrawnSets({"all": (SyntheticDefects(kinds=main, random_state=seed), None)})
    ensemble = recorded(network, cache, defects).fit([product.train[i] for i in some])
    scores, good = ensemble.member_scores(product.test), product.defect == "good"
    rules = rules_of(ensemble.record_, scores, good)
    return judged(rules, ensemble.score_names_, scores, good)


def drawn_sets(main, severities):
    """All kinds in the default severity, and the main ones in others."""
    sets = {"all": (SyntheticDefects(), None)}
    for pair in severities:
        defects = SyntheticDefects(kinds=main, severity=pair, n_per_image=1)
        sets[str(pair[0])] = (defects, FEW)
    return DrawnSets(sets)


def study(product, network, *, tables, sizes=(), draws=3):
    """All figures of a product as plain values.

    ``tables`` may have "severities" and "shifts", which take images of their own.
    """
    main = [kind for kind in KINDS if kind not in product.kinds]
    severities = SEVERITIES if "severities" in tables else []
    sizes = [n for n in sizes if n < len(product.train)]
    with tempfile.TemporaryDirectory() as cache:
        ensemble = recorded(network, cache, drawn_sets(main, severities))
        ensemble.fit(product.train)
        record, good = ensemble.record_, product.defect == "good"
        chosen = record.only(lambda name, kind: name == "all" and kind in main)
        scores = ensemble.member_scores(product.test)
        rules = rules_of(chosen, scores, good)
        found = described(product, chosen, rules, scores)
        found["sets"] = sets_of(record, main, severities, scores, good)
        found["shifts"] = {
            title: judged(
                rules,
                record.names,
                ensemble.member_scores(shifted(product.test, shift)),
                good,
            )
            for title, shift in SHIFTS.items()
            if "shifts" in tables
        }
        found["subsets"] = {
            n: [subset(product, network, cache, main, n, seed) for seed in range(draws)]
            for n in sizes
        }
    return found


def described(product, record, rules, scores):
    """What needs no other images."""
    good = product.defect == "good"
    drawn, real = record.drawn_auroc(), [real_auroc(s, good) for s in scores.T]
    pairs = [[float(one), other] for one, other in zip(drawn, real, strict=True)]
    kinds = dict.fromkeys(kind.split("/")[-1] for kind in record.table().kinds)
    return {
        "product": product.name,
        "counts": [len(product.train), int(good.sum()), int((~good).sum())],
        "kinds": list(kinds),
        "scores": dict(zip(record.names, pairs, strict=True)),
        "pearson": float(pearsonr(drawn, real).statistic),
        "spearman": float(spearmanr(drawn, real).statistic),
        "rules": judged(rules, record.names, scores, good),
        "logistic": logistic(record, scores, good),
        "defects": by_defect(rules, record.names, scores, product.defect),
    }
