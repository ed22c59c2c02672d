"""Bits/dim on digits against gamma, from full schedule information to none: SCUD with Gaussian noise, and classical.

    python -m benchmarks.gamma_sweep [--folder runs/digits-table] [--gammas 1 0.7 0.4 0.1] [--seeds 0 1 2] [--workers 2]

Same network and steps for each, bits/dim on the test split. Runs are kept in the folder, which may be that of
`benchmarks.digits_table`: one that is finished is not trained again, one that was cut short is resumed. Prints a table, and draws
FOLDER/gamma.png with the standard error over seeds (of evaluation, where there is one seed alone); classical diffusion stands at
gamma = 0, masking is a dashed line.
"""

from benchmarks.digits_table import parser, table
from benchmarks.runs import Model
from scud import plots


def main() -> None:
    made = parser(__doc__)
    made.add_argument(
        "--gammas", type=float, nargs="+", default=[1, 0.7, 0.4, 0.1], help="besides classical"
    )
    options = made.parse_args()
    rows = {f"SCUD, gamma = {gamma:g}": Model("scud", gamma=gamma) for gamma in options.gammas}
    found = table({**rows, "classical": Model("classical"), "masking": Model("masking")}, options)
    curve = [found[name] for name in [*rows, "classical"]]
    means, errors = [figures.mean for figures in curve], [figures.error for figures in curve]
    target = options.folder / "gamma.png"
    figure = plots.gamma_curve(
        [*options.gammas, 0.0], means, errors, "bits/dim", found["masking"].mean
    )
    plots.save_figure(figure, target)
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
