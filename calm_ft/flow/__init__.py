"""The mathematics of training a flow head; imports nothing but torch and the project's leaves.

Convention everywhere: x0 is noise, x1 is data, time runs 0 = noise to 1 = data, s <= t, a velocity is dx/dt.
Rows are independent: `x [N, C]`, `cond [N, D]`, times `[N, 1]`, and a residual is one number a row, `[N]`.
"""
