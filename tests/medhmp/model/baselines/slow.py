"""Slow forms of layers, one row and one step at a time, to hold the fast ones to."""

import torch


def agree(model, slow, batch, rows, gradients=1e-6):
    """Values and gradients of a float64 model and of its slow form, row by row; then in float32.

    ``slow(model, row)`` gives the logit of one row from the model's own parameters. Tolerances are
    1e-10 in float64 and 1e-6 in float32, ``gradients`` of gradients, relative to the largest.
    """
    model.eval()
    weight = torch.linspace(1, 2, len(rows))
    expected = _with_gradients(model, torch.stack([slow(model, row) for row in rows]), weight)
    _compare(_with_gradients(model, model(batch), weight), expected, 1e-10, 1e-10)
    narrow = {k: x.float() if x.dtype == torch.float64 else x for k, x in batch.items()}
    torch.set_default_dtype(torch.float32)
    model.float()
    _compare(_with_gradients(model, model(narrow), weight.float()), expected, 1e-6, gradients)


def _with_gradients(model, logits, weight):
    loss = (weight * logits).sum()
    gradients = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    names = [name for name, _ in model.named_parameters()]
    return {"logits": logits.detach(), **dict(zip(names, gradients, strict=True))}


def _compare(ours, theirs, of_logits, of_gradients):
    largest = max(float(x.abs().max()) for name, x in theirs.items() if name != "logits")
    for name, expected in theirs.items():
        error = float((ours[name].double() - expected).abs().max())
        at_most = of_logits if name == "logits" else of_gradients * max(1, largest)
        assert error <= at_most, (name, error)


def ones(ids, width):
    """A set of ids as a vector of zeros and ones."""
    x = torch.zeros(width, dtype=torch.float64)
    x[list(ids)] = 1
    return x


def hours_of(stay, features):
    return [ones(hour, features) for hour in stay.hours]


def linear(layer, x):
    return layer.weight @ x + (0 if layer.bias is None else layer.bias)


def norm(layer, x):
    centred = x - x.mean()
    return layer.weight * centred / (centred.square().mean() + layer.eps).sqrt() + layer.bias


def softmax(scores):
    weights = [torch.exp(score - max(scores).detach()) for score in scores]
    return [weight / sum(weights) for weight in weights]


def lstm(layer, xs):
    """Hidden states and the last cell state of a one-layer LSTM."""
    (w_ih, w_hh, b_ih, b_hh), size = layer.all_weights[0], layer.hidden_size
    h = c = torch.zeros(size, dtype=torch.float64)
    states = []
    for x in xs:
        i, f, g, o = (w_ih @ x + b_ih + w_hh @ h + b_hh).split(size)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        states.append(h)
    return states, c


def gru_step(weights, x, h):
    w_ih, w_hh, b_ih, b_hh = weights
    (r, z, n), (hr, hz, hn) = (w_ih @ x + b_ih).chunk(3), (w_hh @ h + b_hh).chunk(3)
    r, z = (r + hr).sigmoid(), (z + hz).sigmoid()
    return (1 - z) * (n + r * hn).tanh() + z * h


def gru(layer, xs):
    h, states = torch.zeros(layer.hidden_size, dtype=torch.float64), []
    for x in xs:
        h = gru_step(layer.all_weights[0], x, h)
        states.append(h)
    return states


def attention(query, keys, values, heads):
    """Mixed values of one query, each head on its own."""
    size, mixed = len(query) // heads, []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        weights = softmax([query[part] @ key[part] / size**0.5 for key in keys])
        mixed.append(sum(w * value[part] for w, value in zip(weights, values, strict=True)))
    return torch.cat(mixed)


def code_mlp(mlp, x):
    hidden = norm(mlp.first_norm, linear(mlp.first, x)).relu()
    return norm(mlp.second_norm, linear(mlp.second, hidden)).relu()
