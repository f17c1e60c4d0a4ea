"""From LLVM instructions to functions of this process, compiled for the processor at hand by llvmlite."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import llvmlite.binding as llvm
from llvmlite import ir

from solvers.kernels.vectors import Format


@dataclass(frozen=True)
class Host:
    """What a kernel must know of the processor.

    Args:
        name: LLVM's name of it.
        features: LLVM's feature string.
        vector_bytes: size of a vector register.
        registers: number of vector registers.
    """

    name: str
    features: str
    vector_bytes: int
    registers: int

    def format(self, bits: int) -> Format:
        """Return the widest vectors of a floating-point type.

        Args:
            bits: 32 or 64.

        Returns:
            The format.
        """
        return Format(bits, self.vector_bytes * 8 // bits)


@lru_cache(maxsize=1)
def host() -> Host:
    """Return the processor of this process.

    Returns:
        512-bit vectors with AVX-512, 256-bit with AVX, 128-bit otherwise.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    wide = bool(features.get("avx512f"))
    vector_bytes = 64 if wide else 32 if features.get("avx2") and features.get("fma") else 16
    arm = llvm.get_process_triple().startswith(("aarch64", "arm64"))
    return Host(llvm.get_host_cpu_name(), features.flatten(), vector_bytes, 32 if wide or arm else 16)


class Compiled:
    """A compiled module: its functions by name, callable through the C convention without the interpreter's lock.

    Args:
        module: verified LLVM instructions.
        signatures: name -> types of the arguments, of the functions that return nothing.
    """

    def __init__(self, module: ir.Module, signatures: Mapping[str, tuple]):
        processor = host()
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
            cpu=processor.name, features=processor.features, opt=3
        )
        parsed = llvm.parse_assembly(str(module))
        parsed.verify()
        self._engine = llvm.create_mcjit_compiler(parsed, machine)
        self._engine.finalize_object()
        self.functions = {
            name: ctypes.CFUNCTYPE(None, *types)(self._engine.get_function_address(name))
            for name, types in signatures.items()
        }
