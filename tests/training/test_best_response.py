"""What the adversaries' own updates are for: `test_learning`'s made problem, trained as a run is.

One optimiser moves everything, the reversal ramps up, and the adversaries go ahead on the very
batch of the step (`respond`), which is all the training step has.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_learning import CHANCE, Clips, clips, made_network

from jax_avemo.evaluation.probes import probe
from jax_avemo.objectives import losses
from jax_avemo.training.adversary import adversaries_of, respond
from jax_avemo.training.optimizer import build_optimizer, ema

STEPS, BATCH, REVERSAL = 400, 64, 0.3


@functools.cache
def measure(adversary_steps: int) -> tuple[float, float]:
    """Identity read from z_e by a fresh linear probe, and the emotion head; balanced accuracy."""
    model = made_network("conditional")
    data = Clips(*map(jnp.asarray, clips(0.0, seed=1)))
    everyone = jnp.ones(BATCH, bool)
    entropy = losses.softmax_cross_entropy
    optimizer, _ = build_optimizer(
        learning_rate=2e-3, weight_decay=0.05, warmup_steps=20, total_steps=STEPS, clip_norm=1.0
    )
    alone = optax.adam(0.01)

    def step(carry, t):
        params, moments, memory, average = carry
        drawn, key = jax.random.split(jax.random.fold_in(jax.random.key(0), t))
        rows = jax.random.choice(drawn, len(data.z), (BATCH,), replace=False)
        z, emotion, subject = (part[rows] for part in data)
        strength = REVERSAL * losses.reversal_schedule(t / STEPS)

        def decouple(params):
            return model.apply(
                {"params": params},
                z,
                train=True,
                emotion=emotion,
                subject=subject,
                reversal_strength=strength,
                rngs={"dropout": key},
                method="decouple",
            )

        if adversary_steps > 1:
            now = decouple(params)
            seen = now.emotion_embedding, now.identity_embedding, emotion, subject

            def adversary_loss(adversaries):
                identity, felt = model.apply({"params": adversaries}, *seen, method="oppose")
                return entropy(identity, subject, everyone) + entropy(felt, emotion, everyone)

            params, memory = respond(adversary_loss, params, alone, memory, adversary_steps - 1)

        def loss(params):
            out = decouple(params)
            return (
                entropy(out.emotion_logits, emotion, everyone, 0.1)
                + entropy(out.identity_logits, subject, everyone)
                + entropy(out.adversary_identity_logits, subject, everyone)
                + entropy(out.adversary_emotion_logits, emotion, everyone)
            )

        moves, moments = optimizer.update(jax.grad(loss)(params), moments, params)
        params = optax.apply_updates(params, moves)
        return (params, moments, memory, ema(average, params, 0.99, t)), None

    @jax.jit
    def run():
        start = model.init(
            jax.random.key(0),
            data.z,
            train=False,
            emotion=data.emotion,
            subject=data.subject,
            method="decouple",
        )["params"]
        carry = start, optimizer.init(start), alone.init(adversaries_of(start)), start
        return jax.lax.scan(step, carry, jnp.arange(STEPS))[0][3]

    params = run()
    known, new = clips(0.0, seed=3, count=240), clips(0.0, seed=2, count=240)
    seen, unseen = (
        model.apply({"params": params}, jnp.asarray(part.z), train=False, method="decouple")
        for part in (known, new)
    )
    identity = probe(
        np.asarray(seen.emotion_embedding),
        known.subject,
        np.asarray(unseen.emotion_embedding),
        new.subject,
        seed=0,
    )
    emotion = float(np.mean(np.argmax(unseen.emotion_logits, 1) == new.emotion))
    print(adversary_steps, identity.balanced_accuracy, emotion)
    return identity.balanced_accuracy, emotion


@pytest.mark.slow
def test_a_fresh_probe_is_near_chance_only_where_the_adversaries_go_ahead():
    together, emotion_together = measure(1)
    ahead, emotion_ahead = measure(5)
    assert together > 2 * CHANCE
    assert ahead < CHANCE + 0.12
    assert min(emotion_together, emotion_ahead) > 0.95
