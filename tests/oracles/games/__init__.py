"""Games whose Shapley values have a closed form (methods.md, section 6), most of them at any number of players.

game = GAMES["airport"](np.random.default_rng(0), 60)
game(game.x[None]), game.shapley()  # (1, K), (n, K)
"""

from collections.abc import Callable

from numpy.random import Generator

from tests.oracles.games.base import Game, on_tensors
from tests.oracles.games.counting import coalition_counts
from tests.oracles.games.networks import IntegerLayer, Linear, Network, Unanimity
from tests.oracles.games.set_functions import (
    SECURITY_COUNCIL,
    Airport,
    Glove,
    Minimum,
    Product,
    Quadratic,
    Voting,
)

GAMES: dict[str, Callable[[Generator, int], Game]] = {
    "linear": Linear.random,
    "unanimity": Unanimity.random,
    "integer_layer": IntegerLayer.random,
    "quadratic": Quadratic.random,
    "glove": lambda rng, n: Glove(n - 1, int(rng.integers(n))),
    "voting": Voting.random,
    "airport": Airport.random,
    "minimum": Minimum.random,
    "product": Product.random,
}

__all__ = [
    "GAMES",
    "SECURITY_COUNCIL",
    "Airport",
    "Game",
    "Glove",
    "IntegerLayer",
    "Linear",
    "Minimum",
    "Network",
    "Product",
    "Quadratic",
    "Unanimity",
    "Voting",
    "coalition_counts",
    "on_tensors",
]
