"""Segmentation: a mask of the subject of an image, by a network of the transformers library."""

from lycoris.segmentation.segmenter import Segmenter, open_segmenter, segmenter_digest, takes_prompt

__all__ = ["Segmenter", "open_segmenter", "segmenter_digest", "takes_prompt"]
