"""The part of the table of metrics whose metrics have a network of their own; see `lycoris.metrics.quality_predictors`.

A metric that the pocket world's ground truth has not confirmed yet does not count in its dimension (`docs/metrics.md`).
"""

from __future__ import annotations

from lycoris.metrics import colours, controllability, diversity, fidelity, quality
from lycoris.metrics.metric import BASE_PROMPTS, CONTENT_PROMPTS, REPEATED_PROMPTS, TRIGGER_PROMPTS, Metric

_REFERENCES = ("references",)

PREDICTED_METRICS: dict[str, Metric] = {
    "lpips": Metric(
        diversity.lpips, "diversity", True, (0.0, None), REPEATED_PROMPTS, (), "prediction",
        "arXiv 1801.03924",
        "Mean perceptual distance (LPIPS) of two different images; for new situations within each, then averaged.",
        grouped_prompt_types=("alter",), min_images=2, scale=None,
    ),
    "clip_iqa": Metric(
        quality.mean_prediction, "quality", True, (0.0, 1.0), TRIGGER_PROMPTS, (), "prediction", "arXiv 2207.12396",
        "How much closer the images are to the text \"good photo\" than to \"bad photo\", for a CLIP.",
    ),
    "aesthetics": Metric(
        quality.mean_prediction, "quality", True, (None, None), TRIGGER_PROMPTS, (), "prediction", "arXiv 2210.08402",
        "Mean score of LAION's aesthetic predictor, mostly from 1 to 10.", scale=9.0,
    ),
    "liqe": Metric(
        quality.mean_prediction, "quality", True, (1.0, 5.0), TRIGGER_PROMPTS, (), "prediction", "arXiv 2303.14968",
        "Mean quality score of LIQE.", scale=4.0,
    ),
    "maniqa": Metric(
        quality.mean_prediction, "quality", True, (0.0, 1.0), TRIGGER_PROMPTS, (), "prediction", "arXiv 2204.08958",
        "Mean quality score of MANIQA.",
    ),
    "pick_score": Metric(
        quality.mean_prediction, "quality", True, (None, None), TRIGGER_PROMPTS, (), "prediction", "arXiv 2305.01569",
        "Mean PickScore: how much people would prefer the image for its prompt.",
        scale=100.0, counts_in_dimension=False, reads_prompts=True,
    ),
    "hps": Metric(
        quality.mean_prediction, "quality", True, (-1.0, 1.0), TRIGGER_PROMPTS, (), "prediction", "arXiv 2306.09341",
        "Mean human preference score v2 for the image and its prompt.", counts_in_dimension=False, reads_prompts=True,
    ),
    "image_reward": Metric(
        quality.mean_prediction, "quality", True, (None, None), TRIGGER_PROMPTS, (), "prediction", "arXiv 2304.05977",
        "Mean ImageReward for the image and its prompt, mostly from -2 to 2.", scale=4.0,
        counts_in_dimension=False, reads_prompts=True,
    ),
    "vqa_score": Metric(
        controllability.mean_answer, "controllability", True, (0.0, 1.0), CONTENT_PROMPTS, (), "prediction",
        "arXiv 2404.01291",
        "Mean probability of the answer yes when a network is asked whether the image shows what the prompt names.",
        counts_in_dimension=False, reads_prompts=True,
    ),
    "text_accuracy": Metric(
        controllability.mean_answer, "controllability", True, (0.0, 1.0), TRIGGER_PROMPTS, (), "prediction",
        "arXiv 2311.03054",
        "How much of the text that prompts quote is read in the images: 1 less the normalized edit distance.",
        counts_in_dimension=False, reads_prompts=True,
    ),
    "rubric_prompt": Metric(
        controllability.mean_answer, "controllability", True, (0.0, 4.0), TRIGGER_PROMPTS, (), "prediction",
        "arXiv 2406.16855",
        "Mean grade of a judge model, from 0 to 4, for how well the image follows its prompt.",
        scale=4.0, counts_in_dimension=False, reads_prompts=True,
    ),
    "rubric_concept": Metric(
        controllability.mean_answer, "fidelity", True, (0.0, 4.0), TRIGGER_PROMPTS, (), "prediction",
        "arXiv 2406.16855",
        "Mean grade of a judge model, from 0 to 4, for how well the image shows the subject of a reference.",
        scale=4.0, counts_in_dimension=False,
    ),
    "csd_similarity": Metric(
        fidelity.image_similarity, "fidelity", True, (-1.0, 1.0), TRIGGER_PROMPTS, _REFERENCES, "prediction",
        "arXiv 2404.01292",
        "Mean cosine of style descriptors (CSD) over all pairs of a reference and a generated image.",
        styles_only=True, counts_in_dimension=False,
    ),
    "copy_rate": Metric(
        fidelity.copy_rate, "fidelity", False, (0.0, 1.0), REPEATED_PROMPTS, _REFERENCES, "prediction",
        "arXiv 2202.10261",
        "The fraction of generated images that a copy detector (SSCD) finds to be copies of a reference.",
        counts_in_dimension=False,
    ),
    "face_similarity": Metric(
        fidelity.face_similarity, "fidelity", True, (-1.0, 1.0), TRIGGER_PROMPTS, _REFERENCES, "prediction",
        "arXiv 1801.07698",
        "Mean cosine of the faces (ArcFace) in generated images and references; 0 for an image without a face.",
        counts_in_dimension=False,
    ),
    "quality_vendi": Metric(
        diversity.quality_vendi, "diversity", True, (0.0, None), REPEATED_PROMPTS, (), "prediction",
        "arXiv 2405.02449",
        "The Vendi score times the mean quality of the images by CLIP-IQA.",
        grouped_prompt_types=("alter",), scale=None, counts_in_dimension=False,
    ),
    "colour_drift": Metric(
        colours.colour_drift, "preservation", False, (0.0, None), BASE_PROMPTS, ("base",), "prediction", "ours",
        "Distance of the colours to those of the base's image of the same prompt and seed, in units of CIELAB.",
        scale=100.0, counts_in_dimension=False,
    ),
}  # fmt: skip
"""Name -> metric."""
