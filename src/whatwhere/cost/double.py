"""A stand-in for a module that can be run without computing anything."""

import copy

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from whatwhere.errors import HostError, first_line

__all__ = ["fake_double"]


def fake_double(module: nn.Module, fakes: FakeTensorMode) -> tuple[nn.Module, list[Tensor]]:
    """A copy of the module's structure with fake parameters and buffers, and the list of these.

    The module's own tensors are neither copied nor touched, so a large network costs no memory, and whatever the copy
    changes in place (running statistics, for one) is not the module's.

    Raises:
        HostError: the module holds something that cannot be copied.
    """
    # a plain attribute may hold a tensor too: a pruned weight, a map kept from an earlier forward
    loose = [value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    own = [*module.parameters(), *module.buffers(), *loose]
    leaves = {id(tensor): tensor.detach() if tensor.grad_fn else tensor for tensor in own}
    memo: dict[int, object] = {key: fakes.from_tensor(leaf) for key, leaf in leaves.items()}
    stand_ins = [tensor for tensor in memo.values() if isinstance(tensor, Tensor)]
    try:
        return copy.deepcopy(module, memo), stand_ins
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise HostError(
            f"{type(module).__name__}: the module cannot be copied, and nothing is run on the module itself",
            got=first_line(error),
            fix="clear what copy.deepcopy refuses: locks, open files, maps kept from an earlier forward",
        ) from error
