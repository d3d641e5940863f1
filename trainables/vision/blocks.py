"""The head of an image classifier and its blocks, from the input on."""

from collections.abc import Iterator

from timm.models import _manipulate
from torch import nn

from frostline.trainables._freezing import Block
from frostline.trainables._modules import weights_of

_TRUNK = 0.8
"""Share of the parameters that makes a module the trunk. A last stage may hold two thirds (ResNet-50)."""


def head_of(model: nn.Module) -> tuple[str, nn.Module]:
    """Name and module of the layer that scores the classes: the one timm names, else the last layer with weights.

    Raises:
        ValueError: there is none, more than one, or one with weights that cannot be drawn again.
    """
    if hasattr(model, "get_classifier"):
        head = model.get_classifier()
        named = [(name, module) for name, module in model.named_modules() if module is head]
    else:
        named = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1:]
    if len(named) != 1 or not any(True for _ in named[0][1].parameters()):
        raise ValueError(f"cannot tell the head of a {type(model).__name__}")
    name, head = named[0]
    drawn = {id(p) for module in head.modules() if _draws(module) for p in module.parameters(recurse=False)}
    if isinstance(head, nn.ModuleList) or not all(id(p) in drawn for p in head.parameters()):
        raise ValueError(f"cannot draw the head of a {type(model).__name__} again: it is a {type(head).__name__}")
    return name, head


def draw_again(head: nn.Module) -> None:
    """Give a head fresh weights from torch's random state; each layer draws them in its own way."""
    for module in head.modules():
        if _draws(module):
            module.reset_parameters()  # type: ignore[operator]


def _draws(module: nn.Module) -> bool:
    return callable(getattr(module, "reset_parameters", None))


def blocks_of(model: nn.Module) -> list[Block]:
    """The blocks from the input on: timm's groups of layers, transformers' layers or stages, else modules in order.

    Raises:
        ValueError: fewer than two.
    """
    if hasattr(model, "group_matcher"):
        blocks = _timm_blocks(model)
    else:
        blocks = _blocks_of_layers(model) if hasattr(model, "base_model") else _blocks_in_order(model)
    weights = [id(p) for block in blocks for part in block for p in weights_of(part)]
    if len(blocks) < 2 or len(set(weights)) < len(weights):
        raise ValueError(f"cannot tell the blocks of a {type(model).__name__}")
    return blocks


def _timm_blocks(model: nn.Module) -> list[Block]:
    """For each of timm's groups, the largest modules that lie in it whole, and its parameters outside of modules."""
    try:
        groups = _manipulate.group_parameters(model, model.group_matcher(coarse=True), reverse=True)  # type: ignore[operator]
    except AssertionError:  # RDNet's matcher knows single layers only
        return _blocks_in_order(model)
    head = f"{head_of(model)[0]}."
    group_of = {name: group for name, group in groups.items() if not name.startswith(head)}
    blocks: dict[int, Block] = {}

    def visit(module: nn.Module, prefix: str) -> None:
        below = [name for name in groups if name.startswith(prefix)]
        inside = {group_of.get(name) for name in below}
        if len(inside) == 1 and None not in inside and prefix:
            blocks.setdefault(group_of[below[0]], []).append(module)
        elif below:
            for name, parameter in module.named_parameters(recurse=False):
                if prefix + name in group_of:
                    blocks.setdefault(group_of[prefix + name], []).append(parameter)
            for name, child in module.named_children():
                visit(child, f"{prefix}{name}.")

    visit(model, "")
    return _joined([blocks[group] for group in sorted(blocks)])


def _blocks_in_order(model: nn.Module) -> list[Block]:
    """The children of the trunk.

    The search for the trunk goes down while one child holds nearly all parameters outside of the head. A module before
    or after the trunk is a unit of its own.
    """
    head = head_of(model)[1]
    inside = {id(module) for module in head.modules()}

    def units(module: nn.Module) -> Iterator[nn.Module | nn.Parameter]:
        yield from module.parameters(recurse=False)
        sized = [(child, size) for child in module.children() if (size := _size(child, head))]
        to_head = [child for child, _ in sized if any(id(part) in inside for part in child.modules())]
        rest = sum(size for child, size in sized if child not in to_head)
        for child, size in sized:
            trunk = size > _TRUNK * rest and len(list(child.children())) > 1
            if child in to_head or trunk:
                yield from units(child)
            else:
                yield child

    return _joined([[unit] for unit in units(model)])


def _blocks_of_layers(model: nn.Module) -> list[Block]:
    """The layers, or stages, of a model of transformers: the list of modules that holds the most parameters.

    A module before or after the list is a block of its own. Lists of one length that lie side by side run side by
    side: in PVT the first patch embedding, the first blocks, the second patch embedding, and so on.

    Raises:
        ValueError: it has no such list.
    """
    head = head_of(model)[1]
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) > 1 and _size(m, head)]
    if not lists:
        raise ValueError(f"cannot tell the blocks of a {type(model).__name__}: no list of layers in it")
    layers = max(lists, key=lambda module: _size(module, head))  # the outermost, since the first of equal ones is taken
    around = {id(module) for module in model.modules() if any(part in (layers, head) for part in module.modules())}

    def units(module: nn.Module) -> Iterator[Block]:
        yield from ([parameter] for parameter in module.parameters(recurse=False))
        children = [child for child in module.children() if child is not head and _size(child, head)]
        beside = [child for child in children if isinstance(child, nn.ModuleList) and len(child) == len(layers)]
        for child in children:
            if layers in children and child in beside:
                for parts in zip(*beside, strict=True) if child is beside[0] else ():
                    yield [module for part in parts for module in (part if isinstance(part, nn.ModuleList) else [part])]
            elif id(child) in around:
                yield from units(child)
            else:
                yield [child]

    return _joined(list(units(model)))


def _size(module: nn.Module, head: nn.Module) -> int:
    """Parameters of a module that are not the head's."""
    skip = {id(parameter) for parameter in head.parameters()}
    return sum(parameter.numel() for parameter in module.parameters() if id(parameter) not in skip)


def _joined(units: list[Block]) -> list[Block]:
    """Blocks of units. Norms and single parameters join the block before them; at the start, the block after them."""
    joined: list[Block] = []
    waiting: Block = []
    for unit in units:
        if not all(isinstance(part, nn.Parameter) or _is_norm(part) for part in unit):
            joined.append([*waiting, *unit])
            waiting = []
        elif joined:
            joined[-1] += unit
        else:
            waiting += unit
    return joined


def _is_norm(module: nn.Module) -> bool:
    return all(parameter.ndim <= 1 for parameter in module.parameters())


CODE = (blocks_of, _timm_blocks, _blocks_in_order, _blocks_of_layers, _joined)
"""The functions that decide where a block ends."""
