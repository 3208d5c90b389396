# %% [markdown]
# # Aggressive updating
#
# Gradient descent can step over the very optimum it looks for. What does that look like in one dimension, in two,
# and in 22.7 million, and what does a pre-trained model lose by it?
#
# **After this lesson you can**
# - say from the curvature which step size converges, oscillates or diverges;
# - measure how far fine-tuning moves a model, how much its predictions churn, and what it forgets;
# - say what problem SMART's proximal term is made for.
#
# Time on two CPU cores: 2 minutes, of which fine-tuning takes most

# %%
from functools import partial

from course_lib import complexity, plotting, runs
from course_lib.classroom import exercises
from course_lib.classroom.pipeline import headline
from course_lib.plotting import complexity as figures

profile = runs.profile()
runs.seed_everything(0)

# %% [markdown]
# ## One dimension
#
# The loss is a parabola, $F(\theta) = \tfrac12 c\,\theta^2$, with **curvature** $c$ and its minimum at 0. Gradient
# descent with step size (learning rate) $\eta$ does
#
# $$\theta_{t+1} = \theta_t - \eta F'(\theta_t) = \theta_t - \eta c\,\theta_t = (1 - \eta c)\,\theta_t.$$
#
# So every step multiplies the distance from the optimum by $1 - \eta c$. By hand, for $c = 1$ and
# $\theta_0 = 1.2$: with $\eta = 1.8$ the factor is $-0.8$, and one step leads to $-0.96$, on the other side.

# %%
function, gradient = complexity.bowl([1.0])
by_hand = (1 - 1.8 * 1.0) * 1.2
by_library = complexity.gradient_descent(gradient, 1.2, learning_rate=1.8, num_steps=1)[-1].item()
by_hand, by_library

# %% [markdown]
# **Predict before you run.** Which of the step sizes 0.3, 1.0, 1.8 and 2.1 reaches the optimum fastest? Which one
# never does?

# %%
rates = [0.3, 1.0, 1.8, 2.1]
paths = {f"η = {rate}": complexity.gradient_descent(gradient, 1.2, rate, num_steps=12) for rate in rates}
ends = {title: abs(path[-1, 0]) for title, path in paths.items()}
plotting.show(
    figures.descent_figure(paths, function),
    caption="Distance from the optimum after 12 steps, from 1.2 at the start: "
    + ", ".join(f"{end:.2g} for {title}" for title, end in ends.items())
    + f". The largest step size that does not grow it is {complexity.largest_stable_step([1.0]):g}.",
    alt="Four panels of a parabola. With step size 0.3 the points slide down one side, with 1.0 they reach the "
    "bottom in one step, with 1.8 they jump from side to side and close in, with 2.1 they jump and climb out.",
)

# %% [markdown]
# Move the step size yourself. (The panels above show the same without the slider.)

# %%
descend = partial(complexity.gradient_descent, gradient, 1.2, num_steps=12)
plotting.slider(
    lambda rate: figures.descent_figure({f"η = {rate}": descend(rate)}, function),
    [0.1, 0.3, 0.6, 1.0, 1.4, 1.8, 1.95, 2.0, 2.05, 2.1],
    label="step size η",
    value=1.8,
)

# %% [markdown]
# ## Two dimensions
#
# Two weights with different curvatures share one step size. The steep direction, $c = 10$, allows at most
# $\eta = 2/10$; the flat one, $c = 1$, would like a much larger one. The steepest direction decides.

# %%
function_2d, gradient_2d = complexity.bowl([1.0, 10.0])
limit = complexity.largest_stable_step([1.0, 10.0])
rates = [0.02, 0.15, 0.195, 0.21]
paths = {f"η = {rate}": complexity.gradient_descent(gradient_2d, [-2.5, 1.5], rate, num_steps=14) for rate in rates}
steep = {title: abs(path[-1, 1]) for title, path in paths.items()}
plotting.show(
    figures.descent_figure(paths, function_2d),
    caption=f"The limit is η = {limit:g}. After 14 steps the steep weight, 1.5 at the start, is at distance "
    + ", ".join(f"{end:.2g} for {title}" for title, end in steep.items()) + ".",
    alt="Four panels with the level lines of a long narrow bowl. A small step size creeps along the valley, larger "
    "ones zigzag across it, and the largest zigzags further out with every step.",
)

# %% [markdown]
# ## For real: 22.7 million dimensions
#
# Fine-tuning starts from pre-trained weights $\theta_0$ that took a lot of text to find. Nobody knows the
# curvatures, and the learning rate is set by hand. We fine-tune the embedded encoder on the same movie review
# sentences at learning rates far apart, and after every step we ask:
#
# - **accuracy**: how many held-out sentences are right, at the end;
# - **distance**: how far the encoder's weights are from where they were, $\|\theta - \theta_0\| / \|\theta_0\|$;
# - **churn**: which share of the predictions flips from one step to the next;
# - **what is left**: the encoder could find, for a sentence, the picture caption that it follows from, by the
#   nearest vector among many. Can it still?
#
# **Predict before you run.** The learning rate grows a hundredfold, from 1e-5 to 1e-3. Which of the four breaks
# first?

# %%
live, live_steps = complexity.learning_rate_sweep(
    profile.size("updating.learning_rates"),
    profile.size("updating.seeds"),
    num_train=profile.size("updating.num_train"),
    num_heldout=profile.size("updating.num_heldout"),
    num_steps=profile.size("updating.num_steps"),
    num_pairs=profile.size("updating.num_pairs"),
)
live.drop(columns=["kind", "seed"]).style.format({"learning_rate": "{:g}"}, precision=3).hide()

# %% [markdown]
# Step by step, in your run: how far the weights are, and how many predictions flip.

# %%
largest, smallest = live.learning_rate.max(), live.learning_rate.min()
flips = live.set_index("learning_rate").late_flip_share
plotting.show(
    figures.step_figure(live_steps),
    caption=f"In the second half of your run {100 * flips[largest]:.1f} % of the predictions flip in a step at learning "
    f"rate {largest:g}, and {100 * flips[smallest]:.1f} % at {smallest:g}.",
    alt="Two panels over the training steps, one line for each learning rate: the distance from the pre-trained "
    "weights grows fastest at the largest learning rate; beside it, the share of predictions that flip.",
)

# %% [markdown]
# The reference result repeats this with three seeds and more steps (`course reference learning_rate`; its record is
# `data/results/learning_rate.json`). Filled markers with bars are its means and 95 % intervals; hollow markers are
# your shorter run.

# %%
reference, _ = complexity.split_run_rows(runs.load_record("learning_rate").table())
sentence = figures.learning_rate_sentence(reference)
plotting.show(
    figures.learning_rate_figure(reference, live),
    caption=sentence,
    alt="Four panels over the learning rate on a logarithmic axis: held-out accuracy rises and falls again, the "
    "distance from the pre-trained weights grows steadily, churn rises with it, and the "
    "share of captions found again falls from the start.",
)
columns = ["accuracy", "loss", "distance", "late_flip_share", "retrieval_before", "retrieval_after"]
reference.groupby("learning_rate")[columns].mean().round(3)

# %% [markdown]
# ## What it means
#
# Too small a learning rate learns too little. Too large a one pays three times: the weights run far from
# $\theta_0$, what pre-training knew is overwritten, and in the end the accuracy goes too. The order matters: **what
# is forgotten goes before the accuracy does**. At the rate with the best accuracy the encoder has already lost part
# of what it could do before, so the accuracy on your own task will not warn you.
#
# Churn needs care. It rises with the learning rate; but where training collapses (a run at 1e-3 may), the model
# gives one label to every text, and an answer that is always the same never flips. No churn is not yet stability.
#
# A smaller learning rate is one answer, and a blunt one: it slows every direction alike. Chapter 2 has another: a
# penalty on how far the model's *predictions* move in one step. In SMART it is called the *Bregman proximal point*
# term, and it acts as a leash.

# %% [markdown]
# ## Exercises
#
# ### 1. Gradient descent
#
# `gradient` is a function; `start` is a number or an array [D]. Return every point visited, the start first, as one array:
# [num_steps + 1] for a number, [num_steps + 1, D] for an array.

# %% exercise="02.gradient_descent"
import numpy as np

def gradient_descent(gradient, start, learning_rate, num_steps):
    """Give the points visited, an array of num_steps + 1 points."""
    # solution
    points = [np.asarray(start, dtype=float)]
    for _ in range(num_steps):
        points.append(points[-1] - learning_rate * gradient(points[-1]))
    return np.array(points)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Each step uses the gradient where you are now, and goes against it.
#
# </details>

# %%
exercises.check("02.gradient_descent", gradient_descent)

# %% [markdown]
# ### 2. The largest stable step
#
# A bowl has these curvatures along its axes, an array [D]. Above which learning rate does gradient descent move away
# from the minimum? The result is one number for the whole bowl: the limit itself.

# %% exercise="02.largest_stable_step"
def largest_stable_step(curvatures):
    """Give the learning rate at which gradient descent stops converging."""
    # solution
    return 2 / max(curvatures)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# The factor $1 - \eta c$ of every axis must stay between −1 and 1. Which axis leaves that range first?
#
# </details>

# %%
exercises.check("02.largest_stable_step", largest_stable_step)

# %% [markdown]
# ### 3. Churn
#
# `predictions` is an array [T, n]: the predictions for n texts at T moments of training. Give, for each of the
# T − 1 steps, the share of the texts whose prediction changed.

# %% exercise="02.flip_share"
def flip_share(predictions):
    """Give the share of predictions that change in each step, an array [T - 1]."""
    # solution
    return np.mean(predictions[1:] != predictions[:-1], axis=1)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Compare every row with the row before it.
#
# </details>

# %%
exercises.check("02.flip_share", flip_share)

# %% [markdown]
# ### 4. Distance moved
#
# `before` and `after` map names to weight arrays. Give the length of the whole move as a share of the length of
# `before`, over all entries of all arrays.
#
# The norm is the Euclidean one, over all entries of all weights together.

# %% exercise="02.relative_distance"
def relative_distance(before, after):
    """Give the norm of the move divided by the norm of the weights before it."""
    # solution
    moved = sum(np.sum((after[name] - before[name]) ** 2) for name in before)
    length = sum(np.sum(before[name] ** 2) for name in before)
    return np.sqrt(moved / length)
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# All weights of the model are one long vector. Sum the squares first, take the root last.
#
# </details>

# %%
exercises.check("02.relative_distance", relative_distance)

# %% [markdown]
# ## What the deck says, and what we measured

# %%
print(f"Deck: aggressive updates step over the optimum.\nMeasured, in one dimension: above η = 2/c they do, and diverge.\n"
      f"Measured, in fine-tuning: {sentence}")
headline(sentence)

# %% [markdown]
# **What is still unsolved.** Training and held-out accuracy still differ (lesson 01), and a good learning rate is a
# narrow window (this lesson). Chapter 2 takes up both.
