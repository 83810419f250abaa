"""Dense retrieval whose encoder is tuned on behaviour when it is fitted."""

from __future__ import annotations

from llmrec.component import Component, FitContext
from llmrec.models import EmbeddingCache, TextEncoder
from llmrec.retrieve import Dense, DenseConfig, fit_dense
from llmrec.retrieve.dense import COMPONENT as DENSE
from llmrec.train.encoder import train_encoder, training_key
from llmrec.train.encoder_config import EncoderConfig, TrainOptions

__all__ = ["COMPONENT", "tuned_encoder"]


def tuned_encoder(context: FitContext, config: EncoderConfig) -> TextEncoder:
    """Tune an encoder for a component; whoever asks with the same settings, data and work folder gets the same one.

    An interrupted training goes on where it was, if the work folder is still there.

    Args:
        context: its training interactions are learned from, its validation cases are measured with.
        config: the settings.

    Returns:
        The encoder, in a folder below `context.work`; its vectors are cached.
    """
    key = training_key(config, context.catalog, context.train, context.validation, context.seed)
    out = context.work / "encoders" / key[:16]
    options = TrainOptions(seed=context.seed, progress=context.progress)
    train_encoder(config, context.catalog, context.train, context.validation, out, options=options)
    return TextEncoder.load(str(out), max_tokens=config.max_tokens, cache=EmbeddingCache.default())


def _fit(context: FitContext, config: EncoderConfig) -> Dense:
    """Tune, then embed the catalog; a refit keeps the encoder, which a last interaction more would hardly change."""
    if isinstance(context.earlier, Dense):
        context.progress(f"{context.name}: the tuned encoder stays as it is")
        encoder = context.earlier.encoder
    else:
        encoder = tuned_encoder(context, config)
    dense = DenseConfig(**{name: getattr(config, name) for name in DenseConfig.model_fields})
    return fit_dense(context.catalog, dense, encoder, name=context.name, train=context.train, progress=context.progress)


COMPONENT = Component(
    "retriever",
    EncoderConfig,
    _fit,
    DENSE.load,
    requires=("sentence_transformers", "datasets", "accelerate"),
    extra="train",
)
