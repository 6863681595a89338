# ruff: noqa: E501 (command lines)
"""The commands whose results are frozen, as a user would type them. Every model, estimator, update order, kind of result."""

DIGITS = "--data digits --set model.options.hidden=[8,6] --set model.options.latent=4 --set data.train_limit=230 --batch-size 50 --set eval_points=20 --dtype float64"
DEEP = "--data digits --model hierarchical --set model.options.hidden=[[8],[6]] --set model.options.latents=[4,3] --set data.train_limit=230 --batch-size 50 --set eval_points=20 --dtype float64"
TOY = "--data gaussian --model gaussian --set data.size=40 --set data.dim=5 --batch-size 8 --set eval_points=10 --dtype float64"
FIXED = "--data digits --model random-weights --set data.train_limit=230 --batch-size 50 --set eval_points=20 --dtype float64"
MODELS = {"mlp": DIGITS, "hierarchical": DEEP, "gaussian": TOY}
ESTIMATORS = {
    "vae": "--estimator vae --M 2 --K 3", "iwae": "--estimator iwae --K 5", "miwae": "--estimator miwae --M 2 --K 4",
    "ciwae": "--estimator ciwae --K 5 --option beta=0.3", "piwae": "--estimator piwae --M 2 --K 4",
    "dreg": "--estimator dreg --K 5", "stl": "--estimator stl --K 5",
}  # fmt: skip
UPDATES = {
    "joint": "", "encoder-first": "--set update.order=encoder-first", "decoder-first": "--set update.order=decoder-first",
    "random": "--set update.order=random", "separate": "--set update.samples=separate",
    "random-separate": "--set update.order=random --set update.samples=separate",
}  # fmt: skip


def training() -> dict[str, str]:
    """Name of a run -> what ``snrkit train`` is given."""
    runs = {
        f"{model}-{estimator}-{update}": f"{words} {ESTIMATORS[estimator]} {UPDATES[update]} --epochs 2"
        for model, words in MODELS.items()
        for estimator in ESTIMATORS
        for update in UPDATES
        # Every order of every estimator on one model, the others crosswise.
        if model == "mlp" or update in ("joint", "random-separate")
    }
    ciwae = f"{DIGITS} --estimator ciwae --K 5 --epochs 4"
    return runs | {
        "float32": f"{DIGITS.replace('float64', 'float32')} --estimator iwae --K 5 --epochs 2",
        "burda": f"{DIGITS} --estimator iwae --K 5 --epochs 5 --schedule burda --seed 3",
        "threshold": f"{DIGITS} --estimator stl --K 5 --epochs 1 --set data.binarise=threshold",
        "fixed": f"{DIGITS} --estimator dreg --K 5 --epochs 1 --set data.binarise=fixed --set optimiser.betas=[0.8,0.99]",
        "random-weights": f"{FIXED} --estimator iwae --K 3 --epochs 0",
        "kept": f"{DIGITS} --estimator iwae --K 5 --epochs 2 --keep-every 1",
        "beta-free": f"{ciwae} --set beta.learn=free --set estimator.options.beta=0.4",
        "beta-bounded": f"{ciwae} --set beta.learn=bounded --set beta.lr=0.01 --schedule burda",
        "beta-bounded-in-turn": f"{ciwae} --set beta.learn=bounded --set update.order=encoder-first",
        "beta-stages": f"{ciwae} --set beta.stages=[0.2,0.7] --schedule burda",
        "observed": f"{DIGITS} --estimator iwae --K 5 --epochs 2 --snr-every 1 --snr-K 1,4 --snr-draws 8 --snr-points 2",
        "observed-in-training": f"{DIGITS} --estimator piwae --M 2 --K 4 --epochs 2 --snr-every 2 --snr-K 1,4 --snr-M 2 --snr-draws 8 --snr-points 2 --snr-mode training",
    }  # fmt: skip


SWEEP = """
epochs = 2
batch_size = 50
dtype = "float64"
eval_points = 10
data = {name = "digits", train_limit = 230}
model.options = {hidden = [6], latent = 3}
[grid]
seed = [0, 1]
[[runs]]
estimator = {name = "iwae", K = 4}
[[runs]]
estimator = {name = "ciwae", K = 4, options = {beta = 0.5}}
[[runs]]
estimator = {name = "piwae", M = 2, K = 2}
"""

# On the run of that name: command line of what measures it. ``{out}`` is a folder for what does not go beside the run.
MEASURED = {
    "mlp-iwae-joint": [
        "snr --K 1,2,5 --M 1,3 --draws 20 --data-points 3 --estimator vae,iwae,miwae,piwae,dreg,stl --bias bound --dsnr --keep-draws largest,median",
        "snr --K 2,4 --draws 12 --data-points 2 --direct --seed 1",
        "snr --K 2,4 --draws 12 --data-points 2 --nested --seed 2 --mean-from dreg",
        "snr --K 2,4 --draws 12 --data-points 2 --engine vmap --chunk 5 --seed 3",
        "snr --K 2,4 --draws 12 --data-points 2 --engine loop --seed 4 --mode training --block inference,all",
        "snr --K 1,4,16 --draws 12 --data-points 2 --bias log_p --K-ref 200 --estimator iwae,ciwae --option beta=0.25 --seed 5",
        "evaluate --samples 256 --points 6 --keep-points --keep-means",
        "evaluate --samples 128 --points 4 --seed 3 --out {out}/other.json --keep-points",
        "reconstruct --points 3 --samples 50 --out {out}/reconstructions.parquet",
        "beta --K 6 --draws 16 --data-points 2",
        "advise --budget 6 --draws 16 --data-points 2",
    ],
    "hierarchical-dreg-joint": [
        "snr --K 1,3 --M 1,2 --draws 16 --data-points 2",
        "evaluate --samples 128 --points 4 --keep-means",
    ],
    "gaussian-iwae-joint": [
        "snr --K 1,3,10 --draws 32 --data-points 4 --bias log_p --estimator iwae,stl",
        "snr --K 3 --M 1,4,16 --draws 32 --data-points 4 --seed 9",
        "evaluate --samples 128",
        "advise --budget 4 --draws 16 --data-points 2 --estimator vae,iwae,piwae",
    ],
    "float32": ["snr --K 1,5 --draws 20 --data-points 3 --estimator iwae,dreg"],
    "beta-bounded": ["snr --K 1,5 --draws 12 --data-points 2", "evaluate --samples 128 --points 4"],
    "random-weights": ["snr --K 1,4 --draws 12 --data-points 2"],
}

REPORTS = {
    "digits": "report analyses/digits/results --html",
    "toy": "report analyses/toy/results --html",
    "rainforth2018": "report analyses/rainforth2018/results/cpu/runs/*-13 analyses/rainforth2018/rainforth2018.published.csv --html",
    "rainforth2018-curves": "report analyses/rainforth2018/results/cpu/runs/*-4 --figure metrics_vs_m --figure metrics_vs_beta --html",
    "mcharrak2021": "report analyses/mcharrak2021/results --figure generalisation --figure learned_beta --html",
    "burda2016": "report analyses/burda2016/results --html",
}  # fmt: skip

# ``{run}``: the run mlp-iwae-joint; ``{tmp}``: an empty folder. What each says goes to stderr in one line.
REFUSED = [
    "train --estimator iwea",
    "train --model mpl",
    "train --data digit",
    "train --K 0",
    "train --M -3",
    "train --lr 0",
    "train --dtype float16",
    "train --schedule cosine",
    "train --epochs -1",
    "train --option beta=0.5",
    "train --estimator ciwae --option beta=2",
    "train --estimator ciwae --option gamma=1",
    "train --option beta",
    "train --set latent=3",
    "train --set model.options.laten=3",
    "train --set model.options.latent=0",
    "train --set estimator.K=big",
    "train --set update.order=sideways",
    "train --set beta.learn=free",
    "train --estimator ciwae --set beta.stages=[0.5]",
    "train --estimator ciwae --set beta.stages=[0.5,3] --schedule burda",
    "train --set nonsense",
    "train --snr-K 3",
    "train --snr-every 0",
    "train --config {tmp}/none.toml",
    "train --data npz",
    "train --data gaussian --set data.binarise=fixed",
    "train --device cuda:9",
    "train --out {run}",
    "train --resume --out {run} --K 7",
    "snr --ckpt {tmp}/none",
    "snr --ckpt {tmp}",
    "snr --ckpt {run} --K 0",
    "snr --ckpt {run} --K a",
    "snr --ckpt {run} --draws 3",
    "snr --ckpt {run} --data-points 0",
    "snr --ckpt {run} --data-points 100000",
    "snr --ckpt {run} --estimator foo",
    "snr --ckpt {run} --estimator piwae --option beta=1",
    "snr --ckpt {run} --block encoder",
    "snr --ckpt {run} --bias everything",
    "snr --ckpt {run} --bias log_p --K-ref 0",
    "snr --ckpt {run} --mean-from vae",
    "snr --ckpt {run} --mean-from dregg",
    "snr --ckpt {run} --keep-draws weight[0]",
    "snr --ckpt {run} --chunk 0",
    "snr --ckpt {run} --chunk many",
    "snr --ckpt {run} --engine factor",
    "snr --ckpt {run} --mode train",
    "snr --ckpt {run} --nested --direct",
    "snr --ckpt {run} --nested --K 3,4",
    "snr --ckpt {run} --seed -1",
    "snr --ckpt {run} --out {tmp}/table.csv",
    "snr --ckpt {run} --set K=3",
    "snr --ckpt {run} --kay 3",
    "snr",
    "evaluate --ckpt {run} --samples 100",
    "evaluate --ckpt {run} --samples 0",
    "evaluate --ckpt {run} --points 1",
    "evaluate --ckpt {run} --points 99999",
    "evaluate --ckpt {run} --data omniglott",
    "evaluate --ckpt {run} --data gaussian",
    "evaluate --ckpt {run} --samples 1e12",
    "reconstruct --ckpt {run} --samples 0",
    "beta --ckpt {run} --K 1",
    "beta --ckpt {run} --block encoder",
    "beta --ckpt {run} --draws 2",
    "advise --ckpt {run}",
    "advise --ckpt {run} --budget 4 --seconds 1",
    "advise --ckpt {run} --budget 0",
    "advise --ckpt {run} --budget 4 --estimator iwae,foo",
    "advise --ckpt {run} --seconds 1e-9",
    "report {tmp}/none",
    "report {tmp}",
    "report {run} --figure snr_vs_kay",
    "report {run} --column wide",
    "report {run} --format gif",
    "sweep {tmp}/none.toml",
    "sweep {tmp}/bad.toml",
    "sweep {tmp}/unknown.toml",
    "data fetch mnistt",
    "data verify nothing",
    "tain",
    "train --no-such-flag",
]

# Written to ``{tmp}`` before ``REFUSED``.
BAD_FILES = {"bad.toml": "run = [", "unknown.toml": "epoch = 3\n[grid]\nseed = [0]\n"}
