# %% [markdown]
# # Assignment 2: SMART
#
# Five tasks, 20 marks, for one to two hours after lessons 03 and 04. Write each function where its cell says so.
#
# - Keep the functions' names. They are called with hidden inputs, by position, each within ten seconds. The whole notebook
#   with all calls takes at most sixty.
# - Cells run from top to bottom, once. A cell that fails does not stop the others. One that runs for more than ten seconds
#   is stopped; all together have thirty, and where they take more no task can be marked.
# - A function's result alone counts. It must be plain data: numbers, texts, lists, tuples, dictionaries, arrays.
#   Lists, tuples, arrays and tensors of the same values and shape count alike. Do not round: numbers are compared to nine
#   places.
# - You may import <<imports>>.
#   Anything else may be missing where the notebook is marked; what uses it there has no marks.
# - The lines under a task are examples, not the marking: a function that is right on them alone earns nothing.
# - A task earns its marks if it is right on all hidden inputs; the open task at the end earns them part by part.
# - NumPy is enough. What the course has of these tasks is not there when your notebook is marked.
#
# Your form: <<form>>. The hidden inputs are drawn anew for every marking.

# %%
import numpy as np

# %% [markdown]
# ## Task 1: ascend (5 marks)
#
# SMART looks for a perturbation $\delta$ of the word embeddings that changes the output as much as possible, inside a
# ball of radius $\varepsilon$. In lesson 03 the ball bounded the largest entry. Here its norm is
#
# <<ascend.norm>>.
#
# For a batch of $B$ examples of $T$ tokens with $D$ entries you get `delta` and `gradient`, both of shape $[B, T, D]$,
# and `mask` of shape $[B, T]$: 1 for a real token, 0 for padding. Padding has no part in a norm, and the new $\delta$
# is 0 at padding, whatever stands there in `delta` and `gradient`. No example is all padding.
#
# Write `ascend(delta, gradient, mask, step_size, epsilon)`. It takes one step and returns the new $\delta$, of shape
# $[B, T, D]$:
#
# 1. divide the gradient by its size in this norm, so that the size becomes 1; where the size is 0 there is no step;
# 2. from $\delta$, go up along it by `step_size`;
# 3. go to the nearest point of the ball, also where there was no step. <<ascend.nearest>>.
#
# The example below gives `<<ascend.value>>`.

# %% exercise="a2.ascend"
def ascend(delta, gradient, mask, step_size, epsilon):
    """Take one step up the normalised gradient, and project; [B, T, D]."""
    # solution
    delta, gradient = (values * mask[:, :, None] for values in (delta, gradient))
    <<ascend.size>>
    moved = delta + step_size * gradient / np.where(size > 0, size, 1)
    <<ascend.project>>
    # end of solution


# %%
ascend(np.zeros((1, 2, 2)), np.array([[[3.0, 4.0], [9.0, 9.0]]]), np.array([[1, 0]]), 0.5, 10.0)

# %% [markdown]
# ## Task 2: divergence (4 marks)
#
# How far are two outputs apart? In place of SMART's measure take **<<divergence.name>>**:
#
# $$<<divergence.formula>>$$
#
# $P$ and $Q$ are the distributions over classes that belong to a row of logits at the temperature $\tau > 0$: the
# softmax of the logits divided by $\tau$. Logarithms are natural.
#
# Write `divergence(logits_p, logits_q, temperature)` for two arrays of shape $[B, C]$. It returns a number: the mean of
# $\ell$ over the rows. It must also hold for logits in the thousands. The example
# below gives <<divergence.value>>.

# %% exercise="a2.divergence"
def divergence(logits_p, logits_q, temperature):
    """Give the divergence at a temperature, mean over the rows."""
    # solution
    def log_softmax(logits):
        shifted = (logits - logits.max(axis=1, keepdims=True)) / temperature
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

    log_p, log_q = log_softmax(logits_p), log_softmax(logits_q)
    <<divergence.code>>
    return float(rows.sum(axis=1).mean())
    # end of solution


# %%
divergence(np.array([[1.0, 0.0, -1.0]]), np.array([[0.8, 0.1, -0.9]]), 2.0)

# %% [markdown]
# ## Task 3: follow (3 marks)
#
# The momentum anchor $\tilde\theta$ starts at the weights before training, $\theta_0$. Update $t = 0, 1, \dots, T - 1$
# of the model gives $\theta_{t+1}$, and then the anchor follows with
#
# $$\tilde\theta_{t+1} = \beta_t\, \tilde\theta_t + (1 - \beta_t)\, \theta_{t+1}$$
#
# The published $\beta$ has two values. Yours is **<<follow.name>>**, with $a$ = `first` and $b$ = `last`:
#
# $$<<follow.rule>>$$
#
# Write `follow(weights, first, last)` for `weights` of shape $[T + 1, D]$, the $\theta_0, \dots, \theta_T$ of a run
# with at least one update. It returns a dictionary:
#
# - `"anchors"`: the anchors $\tilde\theta_0, \dots, \tilde\theta_T$, of shape $[T + 1, D]$;
# - `"start_share"`: how much of the untrained $\theta_0$ is left in the last anchor, the product of all $\beta_t$;
#   <<follow.value>> in the example below.

# %% exercise="a2.follow"
def follow(weights, first, last):
    """Follow a run with an anchor whose β changes; give all anchors and what is left of the start."""
    # solution
    anchors, start_share, num_updates = [weights[0]], 1.0, len(weights) - 1
    for update in range(num_updates):
        <<follow.code>>
        anchors.append(beta * anchors[-1] + (1 - beta) * weights[update + 1])
        start_share *= beta
    return {"anchors": np.stack(anchors), "start_share": float(start_share)}
    # end of solution


# %%
follow(np.array([[0.0], [1.0], [2.0]]), <<follow.example>>)

# %% [markdown]
# ## Task 4: smoothness (4 marks)
#
# A model with one output, $f(x) = \tanh(x \cdot w)$, takes an embedding $x$ of $D$ entries. Its smoothness penalty is
#
# $$R_s = \frac{1}{B} \sum_i \left( f(x_i + \delta_i) - f(x_i) \right)^2$$
#
# where $\delta_i$ is found as in lesson 03: start from `noise`, project it to $\pm\varepsilon$, and take `num_steps`
# steps up the slope of the squared change. An example's slope is divided by its own largest entry, and each step
# is followed by the projection of $\delta_i$ to $\pm\varepsilon$, entry by entry.
#
# `weight` has shape $[D]$, `x` and `noise` have $[B, D]$. The function returns `"value"`, $R_s$, and `"gradient"`, its
# gradient with respect to `weight`, $[D]$: with $\delta$ held fixed, and through both outputs.
#
# The following function has **one bug**: <<smoothness.symptom>>.
#
# ```python
# <<smoothness.bug>>
# ```
#
# Write `smoothness(weight, x, noise, step_size, epsilon, num_steps)` without it.

# %% exercise="a2.smoothness"
def smoothness(weight, x, noise, step_size, epsilon, num_steps):
    """Give the smoothness penalty and its gradient with respect to the weight."""
    # solution
    clean, delta = np.tanh(x @ weight), np.clip(noise, -epsilon, epsilon)
    for _ in range(num_steps):
        output = np.tanh((x + delta) @ weight)
        slope = (2 * (output - clean) * (1 - output**2))[:, None] * weight
        largest = np.abs(slope).max(axis=1, keepdims=True)
        delta = np.clip(delta + step_size * slope / np.where(largest > 0, largest, 1), -epsilon, epsilon)
    output = np.tanh((x + delta) @ weight)
    gradient = ((output - clean) * (1 - output**2)) @ (x + delta)
    gradient = gradient - ((output - clean) * (1 - clean**2)) @ x
    return {"value": np.mean((output - clean) ** 2), "gradient": 2 * gradient / len(x)}
    # end of solution


# %%
smoothness(np.array([1.0, -0.5]), np.array([[0.2, 0.4]]), np.array([[0.02, -0.01]]), 0.5, 0.1, 1)

# %% [markdown]
# ## Task 5: an open experiment, train_smoothly (4 marks)
#
# Train a linear model, $f(x) = x \cdot w + b$, that answers with the sign of $f$. Classes are $-1$ and $1$, and
# the data have <<train_smoothly.data>>. Somebody may move every entry of $x$ by up to $\varepsilon$. That changes $f$ by
# $\varepsilon \sum_d |w_d|$ at worst, so an example is right **in the worst case** if
# $y\, f(x) > \varepsilon \sum_d |w_d|$.
#
# For this model SMART's penalty with the squared change is $R_s = \left( \varepsilon \sum_d |w_d| \right)^2$. Train
# on the training examples once for each $\lambda$ of 0, 0.05, 0.1, 0.2 and 0.4, where 0 is the control without a
# penalty. What each training makes small is
#
# $$\frac{1}{n} \sum_i \log \left( 1 + e^{-y_i f(x_i)} \right) + \lambda R_s$$
#
# Gradient descent is enough; steps that shrink help, since the slope of $|w_d|$ jumps at 0. Then choose $\lambda$ by
# worst-case accuracy on the validation examples. Which features are clear, and their signs, change from call to call.
#
# Write `train_smoothly(x_train, y_train, x_validation, y_validation, epsilon)`. The `x` have shape $[n, D]$, the `y`
# $[n]$. It returns a dictionary:
#
# - `"models"`: the model of each $\lambda$, `{penalty: (weight, bias)}`, with `weight` of shape $[D]$;
# - `"validation"`: each model's worst-case accuracy on the validation examples, `{penalty: accuracy}`;
# - `"penalty"`: the $\lambda$ you chose.
#
# Calls come in pairs with the same training examples and other validation examples. The models must be the same in
# both, so draw random numbers, if you do, from a generator that the function makes anew, `np.random.default_rng(0)`.
#
# A model is **trained** with its $\lambda$ if what this training makes small falls, from a weight and bias of 0, by at
# least 0.6 of what it falls in a plain training; and the models of 0 and 0.4 must not be one but for their scale.
#
# Marked, each over all calls. If some model is not trained with its own $\lambda$, nothing is earned:
#
# - on hidden examples, the chosen model's worst-case accuracy (2 marks) and accuracy without a perturbation (1 mark)
#   are at most 0.04 below those of a smoothly trained model;
# - the models come from the training examples alone, the validation figures are what they say, and the chosen model is
#   the best (1 mark). All of it is computed again from your models.

# %% exercise="a2.train_smoothly"
def train_smoothly(x_train, y_train, x_validation, y_validation, epsilon):
    """Train with a smoothness penalty, and choose its weight on the validation examples."""
    # solution
    models, found = {}, {}
    for penalty in (0, 0.05, 0.1, 0.2, 0.4):
        weight, bias = np.zeros(x_train.shape[1]), 0.0
        for rate in 0.3 / (1 + np.arange(300) / 50):
            slope = -y_train / (1 + np.exp(y_train * (x_train @ weight + bias)))
            smooth = 2 * penalty * epsilon**2 * np.abs(weight).sum() * np.sign(weight)
            weight, bias = weight - rate * (slope @ x_train / len(slope) + smooth), bias - rate * slope.mean()
        found[penalty] = float(np.mean(y_validation * (x_validation @ weight + bias) > epsilon * np.abs(weight).sum()))
        models[penalty] = (weight, bias)
    return {"models": models, "validation": found, "penalty": max(found, key=found.get)}
    # end of solution


# %%
x, y = np.array([[2.0, 0.1], [1.5, 0.2], [-1.8, -0.1], [-2.2, 0.1]]), np.array([1, 1, -1, -1])
train_smoothly(x, y, x, y, 0.3)
