//! A template as a tree.

use serde_json::Value;

/// One piece of a template.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Text(String),
    Action(Pipe),
    Branch(Branch),
    Range(Branch),
    Break(usize),
    Continue(usize),
}

/// `if`, `with` or `range`.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) pipe: Pipe,
    pub(crate) then: Vec<Node>,
    pub(crate) otherwise: Vec<Node>,
    /// `with`: dot becomes the pipe's value.
    pub(crate) moves_dot: bool,
}

/// What a pipe does with its value beside passing it on.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    None,
    Declare(Vec<String>),
    Assign(Vec<String>),
}

/// Commands, each with the value of the one before as its last argument.
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    pub(crate) offset: usize,
    pub(crate) target: Target,
    pub(crate) commands: Vec<Command>,
}

/// An operand and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) offset: usize,
    pub(crate) first: Operand,
    pub(crate) arguments: Vec<Operand>,
}

/// A value in the making.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub(crate) offset: usize,
    pub(crate) term: Term,
    /// `.A.B` behind the term.
    pub(crate) fields: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Term {
    Dot,
    Nil,
    /// Without the dollar; the empty name is the root value.
    Variable(String),
    Function(&'static str),
    Constant(Value),
    Pipe(Box<Pipe>),
}
