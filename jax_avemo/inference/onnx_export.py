"""A network as an ONNX file: converted for one row, which a Scan repeats for any number of rows.

jax2onnx needs known sizes: its shapes hold a name or a number, and frames and rows that become one
axis are `3*B`. No row of the network sees another one, so the program of one row is all there is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend import core

from jax_avemo.runtime.errors import UserError

OPSET = 21
"""The DFT of opset 20 takes its axis as an input, as jax2onnx 0.17 writes it."""
_CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
_AXIS = "row_axis"


def to_onnx(
    function: Callable[[Mapping[str, Any]], dict[str, Any]], example: Mapping[str, np.ndarray]
) -> bytes:
    """The function for any number of rows, with its weights, as a serialised ModelProto.

    Args:
      function: arrays by name in and out, the rows the first axis of each; the rows must not
        depend on one another.
      example: input arrays; names, types and shapes but for the number of rows are the file's.

    Raises:
      UserError: the extra `onnx` is not installed.
    """
    try:
        import jax2onnx
        import onnxruntime  # noqa: F401  # run_onnx will need it, and tracing takes a minute
    except ImportError as error:
        raise UserError(
            f"--format onnx needs the extra onnx: pip install 'jax_avemo[onnx]' (no {error.name})"
        ) from error

    names = list(example)
    shapes = [
        jax.ShapeDtypeStruct((1, *value.shape[1:]), value.dtype) for value in example.values()
    ]

    def by_position(*arrays: Any) -> dict[str, Any]:
        return function(dict(zip(names, arrays, strict=True)))

    # Traced here: jax2onnx replaces functions of jax.numpy while it traces.
    traced, outputs = jax.make_jaxpr(by_position, return_shape=True)(*shapes)
    flat = jax.make_jaxpr(lambda *arrays: _inline(traced, arrays))(*shapes)
    model = jax2onnx.to_onnx(
        lambda *arrays: tuple(core.jaxpr_as_fun(flat)(*arrays)),
        shapes,
        model_name="avemo",
        opset=OPSET,
        input_names=names,
        output_names=sorted(outputs),  # as JAX flattens a dictionary
    )
    return bytes(_repeat(model).SerializeToString())


def run_onnx(data: bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run an ONNX file with onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _inline(program: core.ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
    """Run the program with calls opened, scans written out, and off the CPU where that matters.

    jax2onnx knows no `platform_index`; it stands where a grouped convolution is written out for
    XLA's CPU backend, and ONNX has grouped convolutions.
    """
    jaxpr = program.jaxpr
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, program.consts, strict=True))
    values |= dict(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        taken = [read(atom) for atom in equation.invars]
        name = equation.primitive.name
        if name == "platform_index":
            made = [equation.params["platforms"].index(None)]
        elif name == "cond" and isinstance(taken[0], int):
            made = _inline(equation.params["branches"][taken[0]], taken[1:])
        elif name in _CALLS:
            made = _inline(equation.params[_CALLS[name]], taken)
        elif name == "scan":
            made = _written_out(equation.params, taken)
        elif name == "stop_gradient":
            made = taken
        else:
            bound = equation.primitive.bind(*taken, **equation.params)
            made = bound if equation.primitive.multiple_results else [bound]
        values.update(zip(equation.outvars, made, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _written_out(scan: Mapping[str, Any], arguments: Sequence[Any]) -> list[Any]:
    """A scan, which jax2onnx fails on, as its steps one after another."""
    first = scan["num_consts"] + scan["num_carry"]
    constants = list(arguments[: scan["num_consts"]])
    carry = list(arguments[scan["num_consts"] : first])
    steps = range(scan["length"])
    outputs: list[list[Any]] = [[]] * scan["length"]
    for step in reversed(steps) if scan["reverse"] else steps:
        given = [lax.index_in_dim(x, step, 0, keepdims=False) for x in arguments[first:]]
        made = _inline(scan["jaxpr"], [*constants, *carry, *given])
        carry, outputs[step] = made[: scan["num_carry"]], made[scan["num_carry"] :]
    columns = zip(*outputs, strict=True)
    return [
        *carry,
        *(lax.concatenate([lax.expand_dims(x, (0,)) for x in column], 0) for column in columns),
    ]


def _repeat(model: Any) -> Any:
    """The model of one row [1, ...] as the body of a Scan over rows ["batch", ...]."""
    from onnx import checker, helper, numpy_helper

    graph = model.graph
    # Names of the whole file's inputs and outputs must not occur within the body.
    outside = {value.name for value in (*graph.input, *graph.output)}
    for node in graph.node:
        for side in (node.input, node.output):
            side[:] = [f"one_{name}" if name in outside else name for name in side]

    def described(value: Any, name: str, rows: Sequence[str]) -> Any:
        kind = value.type.tensor_type
        sizes = [size.dim_value for size in kind.shape.dim][1:]
        return helper.make_tensor_value_info(name, kind.elem_type, [*rows, *sizes])

    before = [
        helper.make_node("Unsqueeze", [f"row_{value.name}", _AXIS], [f"one_{value.name}"])
        for value in graph.input
    ]
    after = [
        helper.make_node("Squeeze", [f"one_{value.name}", _AXIS], [f"row_{value.name}"])
        for value in graph.output
    ]
    body = helper.make_graph(
        [*before, *graph.node, *after],
        "row",
        [described(value, f"row_{value.name}", ()) for value in graph.input],
        [described(value, f"row_{value.name}", ()) for value in graph.output],
        [numpy_helper.from_array(np.zeros(1, np.int64), _AXIS), *graph.initializer],
    )
    inputs = [described(value, value.name, ("batch",)) for value in graph.input]
    outputs = [described(value, value.name, ("batch",)) for value in graph.output]
    scan = helper.make_node(
        "Scan",
        [value.name for value in inputs],
        [value.name for value in outputs],
        body=body,
        num_scan_inputs=len(inputs),
    )
    repeated = helper.make_model(
        helper.make_graph([scan], "avemo", inputs, outputs),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        functions=model.functions,
        producer_name="jax_avemo",
    )
    checker.check_model(repeated)
    return repeated
