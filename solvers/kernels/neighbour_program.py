"""The program that finds nearest nodes by cells: targets of one cell, one a vector lane, share their candidates.

The nodes lie sorted by the cells of a grid. A cell's candidates are the nodes of the cells around it; those nearer than
the block's edge are found for certain. A threshold that leaves between n and `limit` of them is sought by bisection;
these are sorted by a network, keyed by the squared distance whose last bits are the node's number, so that nodes that
are equally far come in the order of their numbers.
"""

from __future__ import annotations

from functools import partial

from llvmlite import ir

from solvers.kernels.candidates import ID, MOST, Candidates
from solvers.kernels.instructions import POINTER
from solvers.kernels.loops import integer, loop
from solvers.kernels.sorting_network import STEP
from solvers.kernels.vectors import INT, Format

SEARCH = [POINTER] * 16 + [INT] * 8
"""nodes, numbers, starts, shape, targets, cells, groups, frame, network, its starts, scratch, kept numbers, the nodes'
names, the targets' rows, results, found; count of nodes, rings, n, limit, most, mask of a key's number, begin, end."""

CROWD = 4 * MOST
"""Nodes of a block above which its targets are left to the caller: the cells are too large for them."""

TURNS = 60
"""Bisections after which a group is left to the caller: more than a lattice's largest shell needs."""


class NeighbourProgram(Candidates):
    """The function `search` for one dimension.

    Args:
        dimension: d.
        format: vector type.
    """

    def __init__(self, dimension: int, format: Format):
        super().__init__(dimension, format)
        self._sort = self.define("sort", [POINTER] * 2 + [INT] * 2, self._write_sort)
        self._pick = self.define("pick", [POINTER] * 3 + [INT] * 4 + [format.scalar], self._write_pick, INT)
        self.search = self.define("search", SEARCH, self._write_search, public=True)

    def scratch(self, most: int) -> int:
        """Return the vectors that a thread needs.

        Args:
            most: keys that are sorted at most.

        Returns:
            For targets, thresholds, distances and keys.
        """
        return self.dimension + 1 + MOST + most + STEP

    def _write_sort(self, builder, keys, pairs, begin, end):
        """Put the smaller of two keys first, for every pair of a sorting network."""
        kind, size = self.format.integers, self.format.bytes

        def turn(k):
            at = builder.mul(k, integer(2))
            places = [builder.gep(pairs, [builder.add(at, integer(side))], source_etype=ID) for side in (0, 1)]
            places = [builder.sext(builder.load(place, typ=ID), INT) for place in places]
            places = [builder.gep(keys, [place], source_etype=kind) for place in places]
            first, second = (builder.load(place, typ=kind, align=size) for place in places)
            ordered = builder.icmp_signed("<", first, second)
            builder.store(builder.select(ordered, first, second), places[0], align=size)
            builder.store(builder.select(ordered, second, first), places[1], align=size)

        loop(builder, begin, end, 1, turn)

    def _write_pick(self, builder, distances, kept, keys, lane, total, most, mask, threshold):
        """Write the keys of a lane's distances up to a threshold, then the largest key up to `most`."""
        lanes = integer(self.format.lanes)

        def put(position, key):
            at = builder.add(builder.mul(position, lanes), lane)
            builder.store(key, builder.gep(keys, [at], source_etype=INT), align=8)

        def turn(c, position):
            distance = self.load_element(builder, distances, builder.add(builder.mul(c, lanes), lane))
            number = builder.sext(builder.load(builder.gep(kept, [c], source_etype=ID), typ=ID), INT)
            put(position, builder.or_(builder.and_(builder.bitcast(distance, INT), builder.not_(mask)), number))
            near = builder.fcmp_ordered("<=", distance, threshold)
            return (builder.add(position, builder.zext(near, INT)),)

        count = loop(builder, integer(0), total, 1, turn, (integer(0),))[0]
        loop(builder, count, most, 1, lambda position: put(position, integer(2**63 - 1)))
        return count

    def _write_search(self, builder, *arguments):
        names = (
            "nodes numbers starts shape targets cells groups frame network network_starts scratch kept names rows "
            "index found count rings size limit most mask begin end"
        )
        given = dict(zip(names.split(), arguments, strict=True))
        parts, start = {}, 0
        for name, vectors in zip(("target", "threshold", "distances"), (self.dimension, 1, MOST), strict=True):
            parts[name] = self.vector_at(builder, given["scratch"], integer(start))
            start += vectors
        parts["keys"] = self.vector_at(builder, given["scratch"], integer(start))
        loop(builder, given["begin"], given["end"], 1, partial(self._group, builder, given | parts))

    def _group(self, builder, given, number):
        at = builder.mul(number, integer(2))
        first, count = (self.int_at(builder, given["groups"], builder.add(at, integer(k))) for k in (0, 1))
        self.place_targets(builder, given, first, count)
        target = [self.load(builder, given["target"], integer(a)) for a in range(self.dimension)]
        low, high, reach = self.block(builder, given, first, target)

        def add_run(start, stop, crowd):
            return (builder.add(crowd, builder.sub(stop, start)),)

        crowd = self.runs(builder, given, low, high, add_run, (integer(0),))[0]
        with builder.if_then(builder.icmp_signed("<=", crowd, integer(CROWD))):
            self._search_block(builder, given, first, count, target, low, high, reach)

    def _search_block(self, builder, given, first, count, target, low, high, reach):
        total, counts, farthest = self.candidates(builder, given, low, high, reach, target)
        enough = self.every(builder, builder.icmp_signed(">=", counts, self.splat(builder, given["size"])))
        fits = builder.icmp_signed("<", total, integer(MOST - 1))
        with builder.if_then(builder.and_(enough, fits)):
            nearer = builder.fcmp_ordered("<", farthest.value, reach.value)
            reach = self.of(builder, builder.select(nearer, farthest.value, reach.value))
            counts = self._bisect(builder, given, total, counts, reach)
            small = self.every(builder, builder.icmp_signed("<=", counts, self.splat(builder, given["limit"])))
            with builder.if_then(small):
                self._finish(builder, given, first, count, total)

    def _bisect(self, builder, given, total, counts, reach):
        """Lower the thresholds of lanes with more than `limit` within; store them, and return the counts."""
        limit, size = self.splat(builder, given["limit"]), self.splat(builder, given["size"])
        head, inside, after = (builder.append_basic_block(name) for name in ("bisect", "halve", "found"))
        before = builder.block
        builder.branch(head)
        builder.position_at_end(head)
        turn, low, high, known = (builder.phi(kind) for kind in (INT, *[self.format.vector] * 2, self.format.integers))
        starts = (integer(0), self.zero(builder).value, reach.value, counts)
        for phi, value in zip((turn, low, high, known), starts, strict=True):
            phi.add_incoming(value, before)
        many = builder.icmp_signed(">", known, limit)
        more = builder.and_(self.some(builder, many), builder.icmp_signed("<", turn, integer(TURNS)))
        builder.cbranch(more, inside, after)
        builder.position_at_end(inside)
        middle = ((self.of(builder, low) + self.of(builder, high)) * 0.5).value

        def count(c, sums):
            near = builder.fcmp_ordered("<=", self.load(builder, given["distances"], c).value, middle)
            return (builder.sub(sums, builder.sext(near, self.format.integers)),)

        none = ir.Constant(self.format.integers, [0] * self.format.lanes)
        found = loop(builder, integer(0), total, 1, count, (none,))[0]
        lower = builder.and_(many, builder.icmp_signed(">=", found, size))
        raised = builder.and_(many, builder.icmp_signed("<", found, size))
        values = (
            builder.add(turn, integer(1)),
            builder.select(raised, middle, low),
            builder.select(lower, middle, high),
            builder.select(lower, found, known),
        )
        for phi, value in zip((turn, low, high, known), values, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        self.store(builder, given["threshold"], integer(0), self.of(builder, high))
        return known

    def _finish(self, builder, given, first, count, total):
        """Sort what is within the thresholds, and write the first n of each lane."""

        def pick(p, most):
            threshold = self.load_element(builder, given["threshold"], p)
            arguments = [given[name] for name in ("distances", "kept", "keys")]
            arguments += [p, total, given["most"], given["mask"], threshold]
            found = builder.call(self._pick, arguments)
            return (builder.select(builder.icmp_signed(">", found, most), found, most),)

        most = loop(builder, integer(0), count, 1, pick, (integer(0),))[0]
        step = builder.udiv(builder.add(most, integer(STEP - 1)), integer(STEP))
        begin, end = (self.int_at(builder, given["network_starts"], builder.add(step, integer(k))) for k in (0, 1))
        builder.call(self._sort, [given["keys"], given["network"], begin, end])

        def write(p):
            target = self.int_at(builder, given["rows"], builder.add(first, p))
            into = builder.mul(target, given["size"])

            def neighbour(j):
                at = builder.add(builder.mul(j, integer(self.format.lanes)), p)
                key = builder.load(builder.gep(given["keys"], [at], source_etype=INT), typ=INT, align=8)
                number = builder.and_(key, given["mask"])
                name = builder.load(builder.gep(given["names"], [number], source_etype=ID), typ=ID)
                builder.store(name, builder.gep(given["index"], [builder.add(into, j)], source_etype=ID))

            loop(builder, integer(0), given["size"], 1, neighbour)
            byte = ir.IntType(8)
            builder.store(byte(1), builder.gep(given["found"], [target], source_etype=byte))

        loop(builder, integer(0), count, 1, write)
