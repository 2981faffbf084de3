"""What the figures of a ledger advise: where money goes without need, and what to do about it.

Everything said is derived from rows (`cells`) and comes with the figures it rests on. Another
model's price is given as what it is, the same tokens at that price: nobody here knows how well it
would do. What lies below a threshold is left unsaid, because advice about trifles hides the rest.
`given` puts together what `dearness`, `failures`, `attempts`, `rounds` and `prompts` find.
"""
