//! What the macros do, beyond what their parser accepts: order of evaluation, lifetimes of temporaries, control flow.

mod attributes;
mod defer;
mod go;
mod select;
