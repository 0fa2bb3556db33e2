"""`probe attention`: pictures and measures of the maps of a finished run's attentive probes.

- what is measured: `maps`, `formulas`, `even_maps`; `objects` (boxes) and `originals` (the images themselves)
- over a split, in one pass: `head_tokens`, `measures`, `measure_split`; `report` (files and table)
- pictures: `shown_images` (whose), `overlay`, `grid_picture`, `scatter`
- `command` is the verb
"""

from probe.attention_maps.options import AttentionOptions

__all__ = ["AttentionOptions", "show_attention"]


def show_attention(options: AttentionOptions) -> None:
    """`probe attention`. It imports backbone libraries, which takes seconds: only when it runs."""
    from probe.attention_maps.command import show_attention as run

    run(options)
