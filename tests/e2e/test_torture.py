"""A short form of the torture; `make torture N=1000` is the long one."""
from frame import check, test
from torture import Torture

KILLS = 10


@test
def ten_kills_at_random_moments_lose_nothing(t):
    torture = Torture(t, seed=4)
    torture.run(KILLS)
    check(all(confirmed for _, _, confirmed, _, _ in torture.figures()), f"a route stood still: {torture.figures()}")
