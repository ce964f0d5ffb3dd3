"""A thin layer over onnx.helper: names, constants and nodes of one graph.

Values are referred to by their names. Constants with equal content are stored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

OPSET = 17
MICROSOFT = "com.microsoft"
#: ONNX IR 8 goes with opset 17, so that older runtimes load the file
IR_VERSION = 8


class GraphBuilder:
    """Collects nodes and initializers; :meth:`model` makes the ModelProto."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self._by_content: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._count = 0

    def input(self, name: str, shape: Sequence[Any], kind: int = TensorProto.INT64) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def output(self, name: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> None:
        self._outputs.append(helper.make_tensor_value_info(name, kind, list(shape)))

    def const(self, value: Any, dtype: Any = np.float32, name: str | None = None) -> str:
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype))
        array = array.reshape(np.shape(value))
        key = (str(array.dtype), array.shape, array.tobytes())
        if key in self._by_content:
            return self._by_content[key]
        if name is None or name in self.constants:
            name = f"{name or 'const'}_{len(self.constants)}"
        self.constants[name] = array
        self._by_content[key] = name
        return name

    def op(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Append a node with one output and return that output's name."""
        return self.ops(kind, inputs, [output], domain, **attributes)[0]

    def ops(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str | None],
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        self._count += 1
        # "" is an optional output that is not wanted, None one that needs a name
        names = [
            f"{kind}_{self._count}_{i}" if o is None else o for i, o in enumerate(outputs)
        ]
        node = helper.make_node(
            kind, list(inputs), names, name=f"{kind}_{self._count}", domain=domain, **attributes
        )
        self.nodes.append(node)
        return names

    def model(self, check: bool = True) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            self.name,
            self._inputs,
            self._outputs,
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
            producer_name="glossa-recipes",
        )
        model.ir_version = IR_VERSION
        if check:
            checker.check_model(model)
        return model
