# %% [markdown]
# # Smoothness-inducing regularization
#
# A fine-tuned model is right about its training examples and sure of everything. SMART's first idea is to ask that
# its answer hardly changes when the input hardly changes.
#
# **After this lesson you can**
# - compute the symmetric KL divergence by hand, and say why SMART uses it;
# - draw the ascent step that finds the worst small change of an input, and say what its radius ε does;
# - measure how smooth a fine-tuned encoder is, and how often small changes of a text flip its answer.
#
# Time on two CPU cores: 2 minutes, of which fine-tuning takes most

# %%
import torch

from course_lib import finetuning, models, plotting, runs, smart, texts
from course_lib.classroom import exercises
from course_lib.classroom.pipeline import headline
from course_lib.plotting import smart as figures
from course_lib.smart.experiments import robustness
from course_lib.smart.experiments import toy

profile = runs.profile()
runs.seed_everything(0)

# %% [markdown]
# ## What a smooth decision looks like
#
# Forty points of two classes in the plane, and a small network with far more parameters than points. We train it
# once on the loss alone and twice with a term that punishes an answer that changes within a distance ε of a
# training point.
#
# **Predict before you run.** All three networks see the same points. Which one will be most sure of itself *between*
# the classes? Which will be best on new points?

# %%
points, labels = toy.two_moons(40)
new_points, new_labels = toy.two_moons(1000, seed=1)
radii = {"loss alone": None, "with R_s, ε = 0.1": 0.1, "with R_s, ε = 0.3": 0.3}
settings = {title: dict(epsilon=e, step_size=e, noise_std=e / 2) for title, e in radii.items() if e}
networks = {
    title: toy.train_toy(points, labels, regularizer=smart.SmoothnessRegularizer(**settings[title]) if e else None)
    for title, e in radii.items()
}
scores = {title: toy.score(network, new_points, new_labels) for title, network in networks.items()}

# %%
plotting.show(
    figures.decision_figure(networks, points, labels),
    caption="On 1,000 new points: "
    + "; ".join(f"{title}, accuracy {accuracy:.3f} and loss {loss:.2f}" for title, (accuracy, loss) in scores.items())
    + ".",
    alt="Three panels with the same points of two interleaved half moons. Without the term the colour jumps from one "
    "class to the other along a jagged line. With it the change is gradual, and more so with the larger radius.",
)

# %% [markdown]
# The accuracy hardly moves. The loss does: the network without the term is sure where it is wrong.
#
# ## The measure of change, by hand
#
# How far apart are two answers? SMART takes the **symmetric Kullback–Leibler divergence** of the two
# distributions,
#
# $$\ell_s(P, Q) = \mathrm{KL}(P \| Q) + \mathrm{KL}(Q \| P), \qquad
# \mathrm{KL}(P \| Q) = \sum_c p_c \log \frac{p_c}{q_c}.$$
#
# Two examples with three classes, as logits $a$ and $b$. By hand:

# %%
a = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]], dtype=torch.float64)
b = torch.tensor([[0.8, 0.1, -0.9], [0.2, 0.7, 0.1]], dtype=torch.float64)
p, q = a.softmax(dim=1), b.softmax(dim=1)
one_way = (p * (p / q).log()).sum(dim=1).mean()
other_way = (q * (q / p).log()).sum(dim=1).mean()
print(f"KL(a‖b) = {one_way:.6f}, KL(b‖a) = {other_way:.6f}, together {one_way + other_way:.6f}")
print(f"library: {smart.symmetric_kl(a, b):.6f}")

# %% [markdown]
# The two directions differ, and neither answer is the true one here, so SMART adds both. For regression the squared
# difference takes its place.
#
# ## What SMART minimises
#
# Fine-tuning minimises the loss $\mathcal L(\theta) = \frac1n \sum_i \ell(f(x_i; \theta), y_i)$: the mean over the
# $n$ training examples of how wrong the answer $f(x_i; \theta)$ is about the label $y_i$, for weights θ. SMART adds a
# term with a weight $\lambda_s$,
#
# $$\min_\theta F(\theta) = \mathcal L(\theta) + \lambda_s R_s(\theta).$$
#
# A text cannot change a little, but the vectors of its words can. Let $x$ be the word embeddings and $\tilde x = x +
# \delta$ a changed copy. The **smoothness regularizer** $R_s$ is the largest change of the answer inside a ball of
# radius ε, averaged over the examples:
#
# $$R_s(\theta) = \frac1n \sum_i \max_{\|\tilde x_i - x_i\|_p \le \varepsilon}
# \ell_s\big(f(\tilde x_i; \theta), f(x_i; \theta)\big).$$
#
# The paper takes $p = \infty$: $\|\delta\|_\infty$ is the largest absolute entry of δ, over all words of the text and
# all dimensions of their vectors, so the ball is a box and each entry has the bound ε of its own. With another norm
# the ball has another shape ($p = 2$: a round one, in which the entries share one bound).
#
# ## The worst small change
#
# Nobody computes that maximum exactly. SMART starts at random noise and takes $K$ steps up the gradient:
#
# $$\delta \sim \mathcal N(0, \sigma^2), \qquad
# \delta \leftarrow \Pi_\varepsilon\Big(\delta + \eta \, \frac{g}{\|g\|_\infty}\Big) \text{ with }
# g = \nabla_\delta \, \ell_s\big(f(x + \delta), f(x)\big), \quad K \text{ times}.$$
#
# Here σ is the size of the noise and η the length of a step: the gradient is divided by its largest entry, so that a
# step is as long wherever it starts. $\Pi_\varepsilon$ **projects** back into the ball: it clips each entry to
# $\pm\varepsilon$. (At $\delta = 0$ itself the gradient is zero: that is why it starts at noise.) The paper takes $K =
# 1$, $\eta = 10^{-3}$ and $\sigma = \varepsilon = 10^{-5}$.

# %%
epsilon, network, point = 0.3, networks["loss alone"], points[7].view(1, 1, 2)
offsets = torch.linspace(-0.5, 0.5, 61)
change = toy.change_around(network, point, offsets)
path = toy.ascent_path(network, point, epsilon=epsilon, step_size=0.4, noise_std=0.15, seed=3)

# %%
figure, axes = plotting.panels(1, 1, width=6, height=4.2)
figures.ascent(axes, offsets, change, path, epsilon=epsilon)
plotting.show(
    figure,
    caption=f"ℓ_s is {toy.change_at(network, point, path['noise']):.2g} at the noise and "
    f"{toy.change_at(network, point, path['projected']):.2g} after one step and the projection.",
    alt="Contour plot of how much the answer changes over a perturbation in two dimensions, with a square ball around "
    "zero. Arrows lead from the noise up the gradient out of the ball, and back to its border.",
)

# %% [markdown]
# ## ε is a radius
#
# Much of the public code for SMART uses ε as a guard against division by zero instead: it divides the perturbation
# by its norm plus ε. The result has norm 1, whatever ε is. The authors' own release does so, too: it perturbs the
# output of the embedding layer by about 1 a word, and has no second term (the one of lesson 04). The paper's ε is
# 0.00001.
#
# **Predict before you run.** How many times too large is the perturbation then?

# %%
classifier = models.load_classifier(num_labels=2)
batch = classifier.tokenizer(["Warm, funny and true.", "Two hours that I want back."], padding=True, return_tensors="pt")
embeddings = smart.word_embeddings(classifier.model, batch["input_ids"]).detach()
forward = smart.forward_from_embeddings(classifier.model, batch)
logits = forward(embeddings)
delta = smart.SmoothnessRegularizer().perturb(forward, embeddings, logits, batch["attention_mask"])
raw = 1e-5 * torch.randn_like(embeddings) + 1e-3 * delta / delta.abs().max()
floored = raw / (raw.abs().max() + 1e-5)

# %%
times = floored.abs().max() / delta.abs().max()
moved = {form: smart.symmetric_kl(forward(embeddings + change), logits).item() for form, change in (("ball", delta), ("floor", floored))}
print(f"largest entry, projected to the ball: {delta.abs().max():.2g}; ε as a floor: {floored.abs().max():.2g}, {times:,.0f} times as large")
print(f"change of the answer ℓ_s, projected to the ball: {moved['ball']:.2g}; ε as a floor: {moved['floor']:.2g}")
print(f"share of entries at the border after one step: {(delta.abs() > 0.999e-5).float().mean():.2f}")

# %% [markdown]
# About 100,000 times too large, and the answer moves accordingly: the two forms share a formula on paper and are two
# methods. So the published ε says little about the runs behind the paper's tables, if the release is what ran. On
# this encoder a true radius of 0.00001 moves next to nothing, and our searches end near 0.01 to 0.03.

# %% [markdown]
# ## For real: how smooth is a fine-tuned encoder?
#
# We fine-tune the embedded encoder on movie review sentences twice, from the same start: on the loss alone, and with
# $\lambda_s R_s$ added, $\lambda_s = 1$. The radius is larger than the paper's, so that the term weighs something on
# a run this short; lesson 04 searches for the best one.
#
# **Predict before you run.** Is the encoder smoother before fine-tuning or after it?

# %%
pool, heldout = texts.labelled_splits("movie", num_heldout=profile.size("smoothness.num_heldout"))
train = texts.sample_texts(pool, profile.size("smoothness.num_train"), seed=0)
settings = finetuning.FinetuningSettings(learning_rate=3e-4, num_epochs=profile.size("smoothness.num_epochs"))
before, plain, smooth = (models.load_classifier(num_labels=2) for _ in range(3))

finetuning.finetune(plain, train, settings)
term = smart.SmartLoss(smooth.model, robustness.in_ball(1e-2), smoothness_weight=1.0)
finetuning.finetune(smooth, train, settings, extra_loss=term, before_pass=term.before_pass)
encoders = {"before": before, "loss alone": plain, "with R_s": smooth}

# %%
sizes = [1e-5, 1e-4, 1e-3, 1e-2]
watched = heldout.select(range(profile.size("smoothness.num_watched")))
over_radius = robustness.smoothness_over_radius(encoders, watched, sizes)
at_large = over_radius[over_radius.epsilon == 1e-2].set_index("model").smoothness
at_small = over_radius[over_radius.epsilon == 1e-5].smoothness.max()

# %%
figure, axes = plotting.panels(1, 1, width=6, height=3.8)
figures.smoothness_over_radius(axes, over_radius)
plotting.show(
    figure,
    caption=f"In the ball of radius 0.01, R_s is {at_large['before']:.2g} before fine-tuning, {at_large['loss alone']:.2g} "
    f"after it, and {at_large['with R_s']:.2g} with the term; at the paper's radius, 0.00001, the largest of the three is {at_small:.1g}.",
    alt="R_s over the radius on logarithmic axes, three lines that rise by two decades for each decade of the radius. "
    "The model fine-tuned on the loss alone is far above the one before fine-tuning; with the term it lies between the two.",
)

# %% [markdown]
# Fine-tuning on the loss alone makes the model *less* smooth: the same small change of the word vectors moves its
# answer far more. $R_s$ grows with the square of ε, so at the paper's radius it is tiny; with $\lambda_s$ of 1 to 5
# its pull on the weights is tiny too, on this model.
#
# ### Does it show in the answers?

# %%
table = robustness.robustness_table({name: encoders[name] for name in ("loss alone", "with R_s")}, heldout)
flips = table.drop(columns=["accuracy", "loss"])
table.round(3)

# %%
figure, axes = plotting.panels(1, 1, width=7, height=3.4)
figures.flip_bars(axes, flips)
plotting.show(
    figure,
    caption=" ".join(
        f"Under {change}, {100 * flips.loc['loss alone', change]:.1f} % of the predictions flip without the term and "
        f"{100 * flips.loc['with R_s', change]:.1f} % with it." for change in flips.columns
    ),
    alt="Bars for each kind of change: typos, capitals, no punctuation and noise, without and with the term.",
)

# %% [markdown]
# The tokenizer of this model reads capitals as small letters, so capitals flip nothing: a check that the measure
# works. Typos break words into unknown pieces, a jump far outside any small ball, and no term about small balls
# promises anything there.

# %% [markdown]
# ## Exercises
#
# ### 1. Symmetric KL
#
# Logarithms are natural ones, so the result is in nats. Logits may be as large as 1,000.

# %% exercise="03.symmetric_kl"
import numpy as np
from scipy.special import log_softmax

def symmetric_kl(logits_p, logits_q):
    """Give KL(P‖Q) + KL(Q‖P), mean over the batch; both arrays are [B, C]."""
    # solution
    log_p, log_q = log_softmax(logits_p, axis=1), log_softmax(logits_q, axis=1)
    return np.mean(np.sum((np.exp(log_p) - np.exp(log_q)) * (log_p - log_q), axis=1))
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Logits are not probabilities yet, and `np.exp` of 1,000 overflows: start from `log_softmax`.
#
# </details>

# %%
exercises.check("03.symmetric_kl", symmetric_kl)

# %% [markdown]
# ### 2. The projection
#
# "Largest" means largest in absolute value. `delta` and the result are arrays [T, D].

# %% exercise="03.project"
def project(delta, epsilon):
    """Give the nearest perturbation whose largest entry is at most epsilon."""
    # solution
    return np.clip(delta, -epsilon, epsilon)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# In this norm each entry has its own bound.
#
# </details>

# %%
exercises.check("03.project", project)

# %% [markdown]
# ### 3. The ascent step
#
# Divide the gradient by its largest *absolute* entry (one number for the whole array), add `step_size` times that to
# `delta`, and clip every entry to ±`epsilon`.

# %% exercise="03.ascent_step"
def ascent_step(delta, gradient, step_size, epsilon):
    """Step up the normalised gradient and project; arrays are [T, D]."""
    # solution
    direction = gradient / np.max(np.abs(gradient))
    return np.clip(delta + step_size * direction, -epsilon, epsilon)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Normalise, step, project: in this order.
#
# </details>

# %%
exercises.check("03.ascent_step", ascent_step)

# %% [markdown]
# ### 4. Where the gradient flows
#
# The model is linear: $f(x) = x \cdot w$. With δ found and fixed, $R_s$ is the mean of $(f(x+\delta) - f(x))^2$
# over the B examples. Give its gradient with respect to $w$.

# %% exercise="03.smoothness_gradient"
def smoothness_gradient(weight, embeddings, delta):
    """Give the gradient of R_s, an array [D]; embeddings and delta are [B, D]."""
    # solution
    change = delta @ weight
    return 2 * np.mean(change[:, None] * delta, axis=0)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Is $f(x)$ a constant in the training loss, or does it depend on $w$ too?
#
# </details>

# %%
exercises.check("03.smoothness_gradient", smoothness_gradient)

# %% [markdown]
# ## What the paper says, and what we measured

# %%
claims = (
    f"Paper: R_s makes the model smooth around its training examples.\n"
    f"Measured: R_s at radius 0.01 falls from {at_large['loss alone']:.2g} to {at_large['with R_s']:.2g} on held-out texts.\n"
    f"Paper: that prevents overfitting.\nMeasured: held-out loss {table.loss['loss alone']:.2f} without and "
    f"{table.loss['with R_s']:.2f} with it; accuracy {table.accuracy['loss alone']:.3f} and {table.accuracy['with R_s']:.3f}. "
    f"One seed, a short run: lesson 04 repeats it with more."
)
print(claims)
headline(f"R_s at radius 0.01: {at_large['loss alone']:.2g} without the term, {at_large['with R_s']:.2g} with it; held-out "
         f"loss {table.loss['loss alone']:.2f} and {table.loss['with R_s']:.2f}.")
