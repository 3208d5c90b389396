# %% [markdown]
# # Proximal point and full SMART
#
# Lesson 02 showed updates that step too far. SMART's second idea is a leash: each update may change the model's
# *predictions* only a little. What does the leash do, and what is all of SMART worth on a small training set?
#
# **After this lesson you can**
# - say what a proximal point step is, and why it cannot step over the optimum;
# - compute the Bregman term with a momentum anchor, and say how long the anchor remembers its untrained start;
# - read an ablation with intervals and controls, and say what it does not show.
#
# Time on two CPU cores: 3 minutes, of which fine-tuning takes most

# %%
import torch

from course_lib import complexity, models, plotting, runs, smart
from course_lib.classroom import exercises
from course_lib.classroom.pipeline import headline
from course_lib.plotting import complexity as chapter_1
from course_lib.plotting import smart as figures
from course_lib.smart.experiments import ablation
from course_lib.smart.experiments import leash
from course_lib.smart.experiments import search

profile = runs.profile()
runs.seed_everything(0)

# %% [markdown]
# ## The leash, where it can be drawn
#
# Gradient descent looks at the slope and jumps. The **proximal point** method looks for the lowest point that is
# also near: with weights $\theta_t$, a loss $F$ and a weight $\mu$ it takes
#
# $$\theta_{t+1} = \arg\min_\theta\ F(\theta) + \tfrac{\mu}{2}\,\|\theta - \theta_t\|^2 .$$
#
# On the bowl $F = \tfrac12 \sum_d c_d\,\theta_d^2$ of lesson 02 the minimum can be written down: set the derivative
# $c_d\,\theta_d + \mu(\theta_d - \theta_{t,d})$ to zero, and get $\theta_{t+1,d} = \theta_{t,d}\;\mu/(c_d + \mu)$.
#
# **Predict before you run.** Gradient descent multiplies by $1 - \eta c$, which turns negative for a large step. Can
# $\mu/(c+\mu)$ ever turn negative?

# %%
function, gradient = complexity.bowl([1.0, 10.0])
start = [-2.5, 1.5]
paths = {
    "gradient descent, η = 0.15": complexity.gradient_descent(gradient, start, 0.15, num_steps=14),
    "gradient descent, η = 0.21": complexity.gradient_descent(gradient, start, 0.21, num_steps=14),
    "proximal point, 1/μ = 0.21": leash.proximal_point([1.0, 10.0], start, 1 / 0.21, num_steps=14),
    "proximal point, 1/μ = 2": leash.proximal_point([1.0, 10.0], start, 1 / 2, num_steps=14),
}
ends = {title: function(path[-1]) for title, path in paths.items()}

# %%
plotting.show(
    chapter_1.descent_figure(paths, function),
    caption="The loss is {:.1f} at the start. After 14 steps: ".format(function(start))
    + "; ".join(f"{title}, {end:.2g}" for title, end in ends.items()) + ".",
    alt="Four panels with the level lines of a long narrow bowl. Gradient descent zigzags at step size 0.15 and climbs "
    "out at 0.21. The proximal point with the same weight on the step slides in without a turn, and with a longer "
    "leash it is there at once.",
)

# %% [markdown]
# It cannot: the factor lies between 0 and 1 for every curvature and every leash. So the method never steps over the
# optimum, and never diverges. The price is hidden in "arg min": each step solves a problem of its own. SMART pays
# as little as it can, **one** gradient step on the leashed loss.
#
# ### One gradient step is not a proximal step
#
# At $\theta = \theta_t$ the leash $\tfrac{\mu}{2}\|\theta - \theta_t\|^2$ and its gradient are exactly zero. One
# gradient step from there does not feel it. SMART's way out is an anchor that lags behind, a **momentum** average
# $\tilde\theta_t = (1-\beta)\,\theta_t + \beta\,\tilde\theta_{t-1}$, and a leash to *that*. How slowly it follows is
# easier to read as a **half-life** $h$: the number of updates after which what the anchor was weighs half as much,
# $\beta^h = \tfrac12$, so $\beta = 2^{-1/h}$.
#
# **Predict before you run.** Mini-batch gradients are noisy. Below, the same noise drives a walk without a leash and
# one with a leash to the anchor. Which arrives sooner? Which wanders less once it is there?

# %%
walks = {
    "no leash": leash.noisy_descent([1.0, 10.0], start, 0.05, 400, noise=4.0),
    "leash to the anchor, μ = 5": leash.noisy_descent(
        [1.0, 10.0], start, 0.05, 400, noise=4.0, proximal_weight=5.0, half_life=10
    ),
}
arrivals = {name: int((abs(walk[:, 0]) < 0.5).argmax()) for name, walk in walks.items()}
spreads = {name: (walk[200:] ** 2).sum(axis=1).mean() ** 0.5 for name, walk in walks.items()}

# %%
figure, axes = plotting.panels(1, 1, width=6, height=3.8)
figures.noisy_paths(axes, walks)
plotting.show(
    figure,
    caption="; ".join(
        f"{name}: near the minimum after {arrivals[name]} steps, at a root mean square distance of {spreads[name]:.2f} "
        "from it over the last 200" for name in walks
    ).capitalize() + ".",
    alt="Two random walks in the plane that start far left and gather around the minimum; the one with the leash takes "
    "longer and ends as the tighter ball.",
)

# %% [markdown]
# The leash is no licence for a larger learning rate: it adds $\mu$ to every curvature, so the largest stable step
# shrinks from $2/c$ to about $2/(c + \mu)$. What it buys is calm under noise: the walk strays less far. It pays with
# a slower approach.
#
# ## In a network: D_Breg
#
# Two weight vectors far apart may be the same function, and two close ones very different functions. SMART therefore
# leashes the **predictions**. The **Bregman** term is the mean change of the answer between the model and the anchor,
#
# $$D_{\mathrm{Breg}}(\theta, \tilde\theta_t) = \frac1n \sum_i \ell_s\big(f(x_i;\theta),\, f(x_i;\tilde\theta_t)\big),$$
#
# with the symmetric KL of lesson 03 as $\ell_s$.
#
# Why **Bregman**? A Bregman divergence measures how far a convex function $\varphi$ lies above its own tangent:
# $\varphi(P) - \varphi(Q) - \langle\nabla\varphi(Q), P - Q\rangle$. With $\varphi$ half the squared length it is half the
# squared distance, the leash of the bowl above. With $\varphi(P) = \sum_c p_c \log p_c$ it is $\mathrm{KL}(P \| Q)$, the
# distance that fits probabilities, and SMART adds it in both directions. The proximal point method with such a
# divergence for the leash is the Bregman proximal point method.
#
# By hand, then by library, before and after a nudge of the head's weights:

# %%
classifier = models.load_classifier(num_labels=2)
model, batch = classifier.model, classifier.tokenizer(["A joy.", "A bore."], return_tensors="pt")
proximal = smart.BregmanProximalPoint(model, proximal_weight=1.0, half_life=10)
with torch.no_grad():
    at_start = model(**batch).logits
    before = proximal.penalty(batch, at_start).item()
    model.classifier.weight += 0.5 * torch.randn(model.classifier.weight.shape)
    moved = model(**batch).logits
by_hand, by_library = smart.symmetric_kl(moved, at_start).item(), proximal.penalty(batch, moved).item()
print(f"before the weights move: {before}; after: by hand {by_hand:.6f}, by library {by_library:.6f}")

# %% [markdown]
# Before the weights move the term is exactly 0. Public code often keeps it there: a teacher that is stored *by
# reference* moves along with the model.

# %%
teacher = model  # looks like a snapshot, and is the model itself
with torch.no_grad():
    model.classifier.weight += 1.0
    by_reference = smart.symmetric_kl(model(**batch).logits, teacher(**batch).logits).item()
print(f"D_Breg with a teacher by reference: {by_reference}; with a copy: "
      f"{proximal.penalty(batch, model(**batch).logits).item():.3f}")

# %% [markdown]
# ## How long does the anchor remember?
#
# The paper uses $\beta = 0.99$ for the first tenth of the updates and 0.999 after that. Each update multiplies the
# weight of the untrained start $\theta_0$, its random head included, by $\beta$.
#
# **Predict before you run.** How much of the anchor is still $\theta_0$ at the end of a run of 150 updates?

# %%
shares = {
    "published β, 50 updates": leash.weight_of_start(50),
    "published β, 150 updates": leash.weight_of_start(150),
    "published β, 10,000 updates": leash.weight_of_start(10_000),
    "half-life a tenth of the run": leash.weight_of_start(150, half_life=15),
}

# %%
figure, axes = plotting.panels(1, 1, width=6, height=3.4)
figures.anchor_shares(axes, shares)
plotting.show(
    figure,
    caption="At the end of the run: " + "; ".join(f"{name}, {100 * share[-1]:.1f} %" for name, share in shares.items()) + ".",
    alt="Lines over the share of the run. With the published β a run of 50 or 150 updates keeps most of the start to its "
    "end, one of 10,000 updates loses it early; a half-life of a tenth of the run falls to nearly zero in every run.",
)

# %% [markdown]
# On a short run the published anchor is mostly the untrained start. D_Breg then pulls the predictions towards those
# of a random head, which is to say towards "not sure". That is a regularizer too, and a plain one. So an honest
# ablation needs two things: a β that fits the run, and plain controls that do nothing but hold back.
#
# ## The ablation: plain, each part alone, both, and controls
#
# All of SMART is
#
# $$\min_\theta\ L(\theta) + \lambda_s R_s(\theta) + \mu\, D_{\mathrm{Breg}}(\theta, \tilde\theta_t).$$
#
# Three controls stand beside it. **Label smoothing** spreads a share of every label over all labels. **Early
# stopping** keeps the weights with the lowest development loss. **A third of the learning rate** just moves less.
# If a control does as well as SMART, then holding back was what helped. (Early stopping has an advantage: it looks at
# labelled development texts that no other arm sees in training.)
#
# SMART has to earn its cost. A step with both parts takes more than twice the time of a plain one;
# docs/benchmarks.md has the measured figure.
#
# ### The settings are chosen first, on development data
#
# `course reference smart_search` fine-tunes on 256 examples with every candidate below, on two seeds. First the
# learning rate of plain fine-tuning is chosen, then each part's own settings. Among the candidates whose accuracy
# lies within one standard error of the best, the one with the lowest loss wins.
#
# The arms are judged by more than accuracy. The **calibration error** says how far a model's confidence is from how
# often it is right: predictions are put into ten bins by their confidence, and it is the mean distance between
# confidence and accuracy of a bin, weighted by its predictions. **Churn** is the share of held-out predictions that
# flip from one step to the next (lesson 02).

# %%
searched = runs.load_record("smart_search")
chosen = search.choose_by_texts(searched)
movie_search = searched.table().query("texts == 'movie'")
labels = [figures.candidate_label({"family": name, **arm.stored()}) for name, arm in chosen["movie"].items()]
plotting.show(
    figures.search_figure(movie_search),
    caption="Chosen for movie reviews: " + "; ".join(labels) + f". This ε is {chosen['movie']['R_s'].epsilon / 1e-5:,.0f} "
    "times the paper's, 0.00001.",
    alt="Two panels with a marker for every candidate of the search: development accuracy, which differs little, and "
    "development loss, which differs more.",
)

# %% [markdown]
# ### Live, one seed
#
# Now the arms of the ablation, on a few movie review sentences, one seed, a few dozen steps each.
#
# **Predict before you run.** Which of these will differ most between the arms: accuracy, loss, or how often a typo
# flips the answer?

# %%
arms = ablation.ablation_arms(chosen["movie"])
live = ablation.ablation_sweep(
    arms,
    profile.size("ablation.texts"),
    profile.size("ablation.train_sizes"),
    profile.size("ablation.seeds"),
    num_steps=profile.size("ablation.num_steps"),
    num_development=profile.size("ablation.num_development"),
    num_test=profile.size("ablation.num_test"),
    num_changed=profile.size("ablation.num_changed"),
)
live.set_index("arm")[list(figures.ABLATION_METRICS)].round(3)

# %% [markdown]
# One seed proves nothing: the examples, the head and the batches are all drawn by it.
#
# ### Full size, five seeds
#
# The reference result repeats it with five seeds, 64 and 256 training examples, on movie reviews (two labels) and
# SNLI sentence pairs (three labels). The test texts were read once, after the search
# (`course reference smart_ablation`; records in `data/results/`). Bars are 95 % intervals over the seeds; all seeds
# share one set of test texts.

# %%
record = runs.load_record("smart_ablation")
reference, num_test = record.table(), record.settings["num_test"]
movie, snli = (reference[reference.texts == name] for name in ("movie", "snli"))
plotting.show(
    figures.ablation_figure(movie),
    caption=f"{figures.ablation_sentence(movie)} All seeds: the same {num_test} test texts.",
    alt="Seven panels with the arms of the ablation on movie reviews, a marker with an interval for 64 and for 256 training "
    "examples: accuracy, loss, calibration error, flips under typos and under noise, distance moved, and churn.",
)

# %%
plotting.show(
    figures.ablation_figure(snli),
    caption=f"{figures.ablation_sentence(snli)} All seeds: the same {num_test} test pairs.",
    alt="The same seven panels for SNLI sentence pairs.",
)

# %% [markdown]
# The intervals above overlap widely, because seeds differ in how lucky their examples are. But every arm saw the
# *same* examples, head and batches for a seed, so the **paired** difference from plain fine-tuning says more.

# %%
metrics = ["accuracy", "loss", "calibration_error", "typos", "churn"]
differences = {metric: ablation.paired_differences(reference, metric) for metric in metrics}
figures.difference_table(differences)

# %% [markdown]
# A star marks an interval that leaves out 0. With this many comparisons one in twenty stars is luck.
#
# ### What it shows
#
# **Accuracy does not rise.** No arm lies above plain fine-tuning by more than the seeds differ; D_Breg alone even loses
# a little on reviews.
#
# **The loss falls, where the model overfits most.** With 64 reviews plain fine-tuning is sure and often wrong. Each part
# of SMART takes away more than half of that loss, and so does each control; a third of the learning rate does it at no
# cost at all. With 256 reviews only label smoothing and early stopping still improve the calibration. So on this model
# and at these sizes SMART earns its cost nowhere that plainly holding back would not do.
#
# **The leash does not calm the predictions.** D_Breg is made against predictions that jump. What does it do to the
# share that flips from one step to the next, with 256 reviews?

# %%
churn = differences["churn"].query("texts == 'movie' and train_size == 256").set_index("arm").loc["D_Breg"]
print(f"churn with D_Breg, against plain: {100 * churn['mean']:+.1f} points [{100 * churn.low:+.1f}, {100 * churn.high:+.1f}]")

# %% [markdown]
# It does not lower it; only the smaller learning rate does. One reason may be that a flip takes only a small change
# where the model is unsure, and the leash keeps it unsure for longer. Count flips only beside confidence: a model that
# is sure of everything hardly ever flips.
#
# **On SNLI nothing moves**, because there is nothing to regularize yet: chance is 1/3, and 256 pairs hardly lift this
# encoder above it. An ablation cannot compare what has not been learned.
#
# ### Published results
#
# The paper reports large models and whole data sets, far from our few examples and small encoder. Its low-resource
# figures are on SNLI and SciTail, with 0.1 % of SNLI about 550 examples and a model that had been trained on
# several tasks before.

# %%
published = runs.load_published("smart")
published.pivot_table(index=["model", "texts", "setting"], columns="metric", values="value", sort=False).style.format(
    precision=1, na_rep=""
)

# %% [markdown]
# ## Exercises
#
# ### 1. A proximal step
#
# `anchor`, `optimum` and `curvatures` ($c$) are arrays [D], `mu` is a number.

# %% exercise="04.proximal_step"
import numpy as np

def proximal_step(anchor, optimum, curvatures, mu):
    """Give the minimum of ½ Σ c (θ - optimum)² + ½ μ Σ (θ - anchor)², an array [D]."""
    # solution
    return (curvatures * optimum + mu * anchor) / (curvatures + mu)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Set the derivative to zero, one axis at a time.
#
# </details>

# %%
exercises.check("04.proximal_step", proximal_step)

# %% [markdown]
# ### 2. The momentum anchor
#
# `weights` is an array [T + 1, D]: the weights before training, then after each of T updates. The anchor starts at
# `weights[0]` and moves after every update, the last one too.

# %% exercise="04.momentum_anchor"
def momentum_anchor(weights, beta):
    """Give the anchor after the last update, an array [D]."""
    # solution
    anchor = weights[0]
    for current in weights[1:]:
        anchor = (1 - beta) * current + beta * anchor
    return anchor
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# β is the share of the *old* anchor that stays.
#
# </details>

# %%
exercises.check("04.momentum_anchor", momentum_anchor)

# %% [markdown]
# ### 3. What is left of the start
#
# The first `num_early` updates use `beta`, the later ones `late_beta`. A run may stop before `num_early`.
# The result is a share from 0 to 1.

# %% exercise="04.weight_left"
def weight_left(beta, late_beta, num_early, num_updates):
    """Give the weight of the untrained start in the anchor after num_updates updates."""
    # solution
    early = min(num_early, num_updates)
    return beta**early * late_beta ** (num_updates - early)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Every update multiplies it once.
#
# </details>

# %%
exercises.check("04.weight_left", weight_left)

# %% [markdown]
# ### 4. Calibration error
#
# `confidence` [n] is the probability of each predicted label, `is_right` [n] is 1 where the prediction is right.
#
# The bins have equal width from 0 to 1. An edge belongs to the bin above it, and 1.0 to the last bin.
# A bin without examples counts nothing.

# %% exercise="04.expected_calibration_error"
def expected_calibration_error(confidence, is_right, num_bins):
    """Give the mean gap between accuracy and confidence over bins, weighted by their examples."""
    # solution
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gaps = [abs(np.sum((is_right - confidence)[bins == k])) for k in range(num_bins)]
    return np.sum(gaps) / len(confidence)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Average inside a bin first, take the absolute value second, average over bins last.
#
# </details>

# %%
exercises.check("04.expected_calibration_error", expected_calibration_error)

# %% [markdown]
# ### 5. An anchor that does nothing
#
# Without momentum the anchor is refreshed from the model every S updates. For which S is the term zero in every step?

# %% exercise="04.useless_refresh"
# solution
useless_refresh = 1
# end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Think of the moment when the term is computed, before the update.
#
# </details>

# %%
exercises.check("04.useless_refresh", useless_refresh)

# %% [markdown]
# ## What the paper says, and what we measured

# %%
verdict = figures.ablation_verdict(differences)
print("Paper: both parts improve accuracy, most where training data is scarce.\nMeasured: " + verdict)
headline(verdict.partition(";")[0] + ".")
