"""Probes that need no training: nearest neighbours by cosine similarity.

`knn_scores` classifies by weighted votes; `retrieval_scores` and `leave_one_out_scores` rank a gallery.
"""

from probe.neighbours.knn import KnnScore, knn_scores
from probe.neighbours.retrieval import RetrievalScore, leave_one_out_scores, retrieval_scores
from probe.neighbours.search import Neighbours, nearest

__all__ = [
    "KnnScore",
    "Neighbours",
    "RetrievalScore",
    "knn_scores",
    "leave_one_out_scores",
    "nearest",
    "retrieval_scores",
]
