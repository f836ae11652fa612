"""How much of the arithmetic of a training step is useful: the numerator of MFU."""

from __future__ import annotations

from ...encoders.base import Encoder


def flops_per_token(encoder: Encoder, share: float) -> float:
    """Floating-point operations that training with masked LM needs for a token, forward and backward.

    Six for every weight of a matrix and token that it is multiplied with (Kaplan et al., "Scaling laws for neural
    language models", 2020, section 2.1): the layers' matrices work on all tokens, those of the head, H x H and H x V,
    on the `share` of them that is labelled. For BERT this is 6 x (12 L H^2 + share x (H^2 + H V)). Attention's own
    products, norms, look-ups and the optimizer are not counted, and neither is anything done for padding.
    """
    layers = sum(weights.numel() for weights in encoder.layers.parameters() if weights.ndim == 2)
    head = encoder.config.hidden_size**2 + encoder.word_embeddings.weight.numel()
    return 6.0 * (layers + share * head)
