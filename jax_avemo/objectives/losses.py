"""Loss formulas: cross entropy, independence of two embeddings, schedule of the gradient reversal.

Every function is pure, takes a boolean row mask (True = counts) and has a finite gradient whatever
stands in the rows that do not count.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_TINY = 1e-12


def softmax_cross_entropy(
    logits: Float[Array, "B K"],
    labels: Int[Array, " B"],
    valid: Bool[Array, " B"],
    label_smoothing: float = 0.0,
) -> Float[Array, ""]:
    """Mean cross entropy over the rows that are valid and have a label, in nats; 0 if none has.

        L = mean_b [ -(1 - s) log p_b[y_b] - (s / K) sum_k log p_b[k] ],   p = softmax(logits)

    Label smoothing s: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, section 7.

    Args:
        logits: unnormalised log probabilities.
        labels: class indices; below 0 = unknown, the row is left out.
        valid: False = padding row, left out.
        label_smoothing: s, in [0, 1).
    """
    counted = _counted(labels, valid)
    # Masked before the softmax: an infinite logit in a padding row would give 0 * inf = NaN.
    safe_logits = jnp.where(counted[:, None], logits, 0.0).astype(jnp.float32)
    log_probabilities = jax.nn.log_softmax(safe_logits, axis=-1)
    safe_labels = jnp.where(counted, labels, 0)
    of_label = jnp.take_along_axis(log_probabilities, safe_labels[:, None], axis=-1)[:, 0]
    of_all = jnp.mean(log_probabilities, axis=-1)
    rows = -(1.0 - label_smoothing) * of_label - label_smoothing * of_all
    return _mean_over(rows, counted)


def accuracy(
    logits: Float[Array, "B K"], labels: Int[Array, " B"], valid: Bool[Array, " B"]
) -> Float[Array, ""]:
    """Share of the valid, labelled rows whose largest logit is the label's; 0 if there is none."""
    counted = _counted(labels, valid)
    right = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    return _mean_over(right, counted)


def orthogonality(
    ze: Float[Array, "B D1"], zi: Float[Array, "B D2"], valid: Bool[Array, " B"]
) -> Float[Array, ""]:
    """Linear dependence of two embeddings over a batch, in [0, 1]; 0 = uncorrelated.

        L = ||Ze^T Zi||_F^2 / B^2

    Bousmalis et al., Domain Separation Networks, NIPS 2016, equation 5, after centring both over
    the batch and scaling every row to length 1 (so shrinking an embedding is no way out). B counts
    the valid rows.
    """
    count = jnp.sum(valid.astype(jnp.float32))
    product = _centred_unit_rows(ze, valid).T @ _centred_unit_rows(zi, valid)
    return jnp.sum(jnp.square(product)) / jnp.square(jnp.maximum(count, 1.0))


def hsic(
    ze: Float[Array, "B D1"], zi: Float[Array, "B D2"], valid: Bool[Array, " B"]
) -> Float[Array, ""]:
    """Dependence of any form between two embeddings over a batch, at least 0.

        HSIC = tr(K H L H) / (m - 1)^2,   H = I - 1 1^T / m,   m = valid rows
        K_ab = exp(-||ze_a - ze_b||^2 / w_e),   L alike on zi

    Gretton et al., Measuring Statistical Dependence with Hilbert-Schmidt Norms, ALT 2005, equation
    9 (the biased estimator). The bandwidth w is the mean squared distance between different rows,
    recomputed on every batch and held constant in the gradient: it plays the part of the usual
    median (scale-free, so shrinking an embedding is no way out) without a sort over masked pairs.
    """
    count = jnp.sum(valid.astype(jnp.float32))
    kernels = _centred_kernel(ze, valid) * _centred_kernel(zi, valid)
    return jnp.sum(kernels) / jnp.square(jnp.maximum(count - 1.0, 1.0))


def reversal_schedule(
    progress: Float[Array, "*shape"] | float, gamma: float = 10.0
) -> Float[Array, "*shape"]:
    """Strength of the reversed gradient: 0 at the start of training, near 1 at its end.

        lambda = 2 / (1 + exp(-gamma p)) - 1,   p = share of training done, in [0, 1]

    Ganin and Lempitsky, Unsupervised Domain Adaptation by Backpropagation, ICML 2015, equation 14.
    """
    return 2.0 * jax.nn.sigmoid(gamma * jnp.asarray(progress, jnp.float32)) - 1.0


def _counted(labels: Int[Array, " B"], valid: Bool[Array, " B"]) -> Bool[Array, " B"]:
    return valid & (labels >= 0)


def _mean_over(rows: Float[Array, " B"], counted: Bool[Array, " B"]) -> Float[Array, ""]:
    total = jnp.sum(jnp.where(counted, rows, 0.0))
    return total / jnp.maximum(jnp.sum(counted.astype(jnp.float32)), 1.0)


def _centred_unit_rows(z: Float[Array, "B D"], valid: Bool[Array, " B"]) -> Float[Array, "B D"]:
    mask = valid[:, None]
    z = jnp.where(mask, z, 0.0).astype(jnp.float32)
    count = jnp.maximum(jnp.sum(valid.astype(jnp.float32)), 1.0)
    centred = jnp.where(mask, z - jnp.sum(z, axis=0, keepdims=True) / count, 0.0)
    # The constant keeps the gradient of a row of zeros (B = 1, collapse) finite.
    return centred * jax.lax.rsqrt(jnp.sum(jnp.square(centred), axis=1, keepdims=True) + _TINY)


def _centred_kernel(z: Float[Array, "B D"], valid: Bool[Array, " B"]) -> Float[Array, "B B"]:
    """H K H over the valid rows, zero elsewhere."""
    z = jnp.where(valid[:, None], z, 0.0).astype(jnp.float32)
    pairs = (valid[:, None] & valid[None, :]).astype(jnp.float32)
    count = jnp.maximum(jnp.sum(valid.astype(jnp.float32)), 1.0)
    # Differences, not |a|^2 + |b|^2 - 2ab: that loses all digits for close rows far from zero.
    distances = jnp.sum(jnp.square(z[:, None, :] - z[None, :, :]), axis=-1)
    bandwidth = jnp.sum(distances * pairs) / jnp.maximum(count * (count - 1.0), 1.0)
    kernel = jnp.exp(-distances / (jax.lax.stop_gradient(bandwidth) + _TINY)) * pairs
    row_mean = jnp.sum(kernel, axis=1, keepdims=True) / count
    return (kernel - row_mean - row_mean.T + jnp.sum(kernel) / jnp.square(count)) * pairs
