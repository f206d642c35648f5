"""The networks of jax_avemo written again in PyTorch: a yardstick for speed (benchmark_model.py).

They are what a PyTorch user would write for clips of equal length: no padding masks, channels
last, fused optimiser. Sub-modules have the names of the Flax parameters, so `load` needs no table.
"""
