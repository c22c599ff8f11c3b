//! Running a template (Go's text/template/exec.go is the behaviour's source).

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use crate::ast::{Branch, Command, Node, Operand, Pipe, Target, Term};
use crate::error::{Error, Fault, Place};
use crate::value::{Val, print, type_name};
use crate::{Missing, Options, functions, table};

/// What is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A value.
    Data,
    /// The names of the columns.
    Headers,
}

/// Renders `value` through `nodes`.
pub(crate) fn run(
    nodes: &[Node],
    source: &str,
    options: &Options,
    mode: Mode,
    value: &Value,
    out: &mut dyn fmt::Write,
) -> Result<(), Error> {
    let root = Val::borrowed(value);
    let mut state = State {
        options,
        mode,
        out,
        written: 0,
        steps: 0,
        variables: vec![("", root.clone())],
    };
    match state.walk(nodes, &root) {
        Ok(_) => Ok(()),
        Err(Halt::Output(error)) => Err(Error::Output(error)),
        Err(Halt::Fault(fault)) => Err(Error::Render {
            place: Place::of(source, fault.offset),
            message: fault.message,
        }),
    }
}

/// Why a run ends early.
enum Halt {
    Fault(Fault),
    Output(fmt::Error),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Halt::Fault(fault)
    }
}

fn fault<T>(offset: usize, message: impl Into<String>) -> Result<T, Halt> {
    Err(Halt::Fault(Fault::new(offset, message)))
}

/// Whether the enclosing loop goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct State<'a, 'o> {
    options: &'a Options,
    mode: Mode,
    out: &'o mut dyn fmt::Write,
    written: usize,
    steps: u64,
    /// Variables in scope, innermost last; the first is `$`.
    variables: Vec<(&'a str, Val<'a>)>,
}

impl<'a> State<'a, '_> {
    fn step(&mut self, offset: usize) -> Result<(), Halt> {
        self.steps += 1;
        if self.steps > self.options.max_steps {
            return fault(offset, "it takes too many steps");
        }
        Ok(())
    }

    fn write(&mut self, text: &str, offset: usize) -> Result<(), Halt> {
        self.written = self.written.saturating_add(text.len());
        if self.written > self.options.max_output {
            let limit = self.options.max_output;
            return fault(offset, format!("the output is longer than {limit} bytes"));
        }
        self.out.write_str(text).map_err(Halt::Output)
    }

    fn walk(&mut self, nodes: &'a [Node], dot: &Val<'a>) -> Result<Flow, Halt> {
        for node in nodes {
            match node {
                Node::Text(text) => {
                    self.step(0)?;
                    self.write(text, 0)?;
                }
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if matches!(pipe.target, Target::None) {
                        self.write(&value.shown(), pipe.offset)?;
                    }
                }
                Node::Branch(branch) => match self.branch(branch, dot)? {
                    Flow::On => {}
                    flow => return Ok(flow),
                },
                Node::Range(branch) => match self.range(branch, dot)? {
                    Flow::On => {}
                    flow => return Ok(flow),
                },
                Node::Break(offset) => {
                    self.step(*offset)?;
                    return Ok(Flow::Break);
                }
                Node::Continue(offset) => {
                    self.step(*offset)?;
                    return Ok(Flow::Continue);
                }
            }
        }
        Ok(Flow::On)
    }

    fn branch(&mut self, branch: &'a Branch, dot: &Val<'a>) -> Result<Flow, Halt> {
        let scope = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let flow = if !value.is_true() {
            self.walk(&branch.otherwise, dot)
        } else if branch.moves_dot {
            self.walk(&branch.then, &value)
        } else {
            self.walk(&branch.then, dot)
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, branch: &'a Branch, dot: &Val<'a>) -> Result<Flow, Halt> {
        let scope = self.variables.len();
        let offset = branch.pipe.offset;
        let value = self.commands(&branch.pipe, dot)?;
        if let Target::Declare(names) = &branch.pipe.target {
            self.variables
                .extend(names.iter().map(|name| (name.as_str(), Val::NONE)));
        }
        let items: Box<dyn Iterator<Item = (Val<'a>, Val<'a>)> + '_> = match value.get() {
            None => Box::new(std::iter::empty()),
            Some(Value::Array(list)) => Box::new(
                (0..list.len())
                    .map(|place| (Val::owned(place), value.part(|list| list.get(place)))),
            ),
            Some(Value::Object(object)) => {
                let mut keys: Vec<&String> = object.keys().collect();
                keys.sort();
                Box::new(keys.into_iter().map(|key| {
                    (
                        Val::owned(key.clone()),
                        value.part(|object| object.get(key)),
                    )
                }))
            }
            Some(Value::Number(number)) if !number.is_f64() => {
                let count = number.as_u64().unwrap_or(0);
                Box::new((0..count).map(|place| (Val::owned(place), Val::owned(place))))
            }
            // A column's name stands for its list.
            Some(Value::String(_)) if self.mode == Mode::Headers => {
                Box::new(std::iter::once((Val::owned(0), value.clone())))
            }
            Some(other) => {
                return fault(
                    offset,
                    format!("range can't iterate over {}", type_name(other)),
                );
            }
        };
        let mut none = true;
        for (index, item) in items {
            none = false;
            if self.iteration(branch, index, &item)? == Flow::Break {
                break;
            }
        }
        let flow = if none {
            self.walk(&branch.otherwise, dot)?
        } else {
            Flow::On
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn iteration(
        &mut self,
        branch: &'a Branch,
        index: Val<'a>,
        item: &Val<'a>,
    ) -> Result<Flow, Halt> {
        let offset = branch.pipe.offset;
        self.step(offset)?;
        if let Target::Declare(names) | Target::Assign(names) = &branch.pipe.target {
            match names.as_slice() {
                [first, second] => {
                    self.assign(first, index, offset)?;
                    self.assign(second, item.clone(), offset)?;
                }
                [only] => self.assign(only, item.clone(), offset)?,
                _ => {}
            }
        }
        let scope = self.variables.len();
        let flow = self.walk(&branch.then, item);
        self.variables.truncate(scope);
        flow
    }

    fn assign(&mut self, name: &str, value: Val<'a>, offset: usize) -> Result<(), Halt> {
        match self
            .variables
            .iter_mut()
            .rev()
            .find(|(known, _)| *known == name)
        {
            Some((_, slot)) => {
                *slot = value;
                Ok(())
            }
            None => fault(offset, format!("undefined variable \"${name}\"")),
        }
    }

    /// A pipe's value, put into its variable if it has one.
    fn pipe(&mut self, pipe: &'a Pipe, dot: &Val<'a>) -> Result<Val<'a>, Halt> {
        let value = self.commands(pipe, dot)?;
        match &pipe.target {
            Target::None => {}
            Target::Declare(names) => {
                for name in names {
                    self.variables.push((name, value.clone()));
                }
            }
            Target::Assign(names) => {
                for name in names {
                    self.assign(name, value.clone(), pipe.offset)?;
                }
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &'a Pipe, dot: &Val<'a>) -> Result<Val<'a>, Halt> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or(Val::NONE))
    }

    fn command(
        &mut self,
        command: &'a Command,
        dot: &Val<'a>,
        piped: Option<Val<'a>>,
    ) -> Result<Val<'a>, Halt> {
        self.step(command.offset)?;
        let Operand {
            offset,
            term,
            fields,
        } = &command.first;
        if let Term::Function(name) = term {
            return self.function(name, &command.arguments, dot, piped, *offset);
        }
        if command.arguments.is_empty() && piped.is_none() {
            if matches!(term, Term::Nil) {
                return fault(*offset, "nil is not a command");
            }
            return self.operand(&command.first, dot);
        }
        // Only the last field can take arguments.
        let Some((method, fields)) = fields.split_last() else {
            return fault(*offset, "can't give argument to non-function");
        };
        let base = self.base(&command.first, dot)?;
        let receiver = self.fields(base, fields, *offset)?;
        let mut arguments = Vec::new();
        for argument in &command.arguments {
            arguments.push(self.operand(argument, dot)?.into_value());
        }
        arguments.extend(piped.map(Val::into_value));
        if self.mode == Mode::Headers {
            let last = arguments.last().and_then(Value::as_str);
            return Ok(Val::owned(table::header_of_key(last.unwrap_or(method))));
        }
        match self.method(&receiver, method, &arguments) {
            Some(Ok(value)) => Ok(Val::owned(value)),
            Some(Err(message)) => fault(*offset, format!("error calling {method}: {message}")),
            None => fault(
                *offset,
                format!("{method} has arguments but cannot be invoked as function"),
            ),
        }
    }

    fn method(
        &self,
        receiver: &Val<'a>,
        name: &str,
        arguments: &[Value],
    ) -> Option<Result<Value, String>> {
        let methods = self.options.methods?;
        methods(receiver.get().unwrap_or(&Value::Null), name, arguments)
    }

    fn operand(&mut self, operand: &'a Operand, dot: &Val<'a>) -> Result<Val<'a>, Halt> {
        let base = self.base(operand, dot)?;
        self.fields(base, &operand.fields, operand.offset)
    }

    /// The value of an operand's term, without its fields.
    fn base(&mut self, operand: &'a Operand, dot: &Val<'a>) -> Result<Val<'a>, Halt> {
        match &operand.term {
            Term::Dot => Ok(dot.clone()),
            Term::Nil => Ok(Val::NONE),
            Term::Constant(value) => Ok(Val::borrowed(value)),
            Term::Variable(name) => {
                match self.variables.iter().rev().find(|(known, _)| known == name) {
                    Some((_, value)) => Ok(value.clone()),
                    None => fault(operand.offset, format!("undefined variable \"${name}\"")),
                }
            }
            Term::Function(name) => self.function(name, &[], dot, None, operand.offset),
            Term::Pipe(pipe) => self.pipe(pipe, dot),
        }
    }

    fn fields(
        &mut self,
        mut value: Val<'a>,
        fields: &[String],
        offset: usize,
    ) -> Result<Val<'a>, Halt> {
        if self.mode == Mode::Headers {
            return Ok(self.header(value, fields));
        }
        for name in fields {
            value = self.field(&value, name, offset)?;
        }
        Ok(value)
    }

    /// The name of the column that shows some field.
    fn header(&self, value: Val<'a>, fields: &[String]) -> Val<'a> {
        let Some(last) = fields.last() else {
            // The row as a whole has no name of its own.
            return if matches!(value.get(), Some(Value::Object(_))) {
                Val::owned("")
            } else {
                value
            };
        };
        let known = value.get().and_then(|headers| {
            let whole = headers.get(fields.join("."));
            whole.or_else(|| headers.get(last)).and_then(Value::as_str)
        });
        match known {
            Some(name) => Val::owned(name),
            None => Val::owned(table::header_name(last)),
        }
    }

    fn field(&self, value: &Val<'a>, name: &str, offset: usize) -> Result<Val<'a>, Halt> {
        if let Some(Value::Object(object)) = value.get()
            && object.contains_key(name)
        {
            let mut part = value.part(|object| object.get(name));
            part.is_map = self.options.maps.contains(&name);
            return Ok(part);
        }
        match self.method(value, name, &[]) {
            Some(Ok(result)) => return Ok(Val::owned(result)),
            Some(Err(message)) => return fault(offset, format!("error calling {name}: {message}")),
            None => {}
        }
        let strict = self.options.missing == Missing::Error;
        match (value.json.as_deref(), value.get()) {
            (_, Some(Value::Object(_))) if value.is_map || !strict => Ok(Val::NONE),
            (_, Some(Value::Object(_))) => fault(offset, format!("can't evaluate field {name}")),
            (_, Some(other)) => {
                let kind = type_name(other);
                fault(
                    offset,
                    format!("can't evaluate field {name} in type {kind}"),
                )
            }
            (Some(_), None) => fault(offset, format!("nil pointer evaluating .{name}")),
            (None, None) => Ok(Val::NONE),
        }
    }

    fn function(
        &mut self,
        name: &str,
        arguments: &'a [Operand],
        dot: &Val<'a>,
        piped: Option<Val<'a>>,
        offset: usize,
    ) -> Result<Val<'a>, Halt> {
        self.step(offset)?;
        if name == "and" || name == "or" {
            return self.and_or(name, arguments, dot, piped, offset);
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(piped);
        if self.mode == Mode::Headers {
            match name {
                "eq" | "ne" | "lt" | "le" | "gt" | "ge" => return Ok(Val::owned(true)),
                name if functions::is_cosmetic(name) => {
                    let first = values.into_iter().next().unwrap_or(Val::NONE);
                    return Ok(Val {
                        json: first.get().map(print).map(|t| Cow::Owned(t.into())),
                        is_map: false,
                    });
                }
                _ => {}
            }
        }
        functions::call(name, values, self.options.max_output)
            .or_else(|message| fault(offset, format!("error calling {name}: {message}")))
    }

    /// The first argument that decides, or the last; later ones are not evaluated.
    fn and_or(
        &mut self,
        name: &str,
        arguments: &'a [Operand],
        dot: &Val<'a>,
        piped: Option<Val<'a>>,
        offset: usize,
    ) -> Result<Val<'a>, Halt> {
        let mut last = None;
        for argument in arguments {
            let value = self.operand(argument, dot)?;
            if value.is_true() == (name == "or") {
                return Ok(value);
            }
            last = Some(value);
        }
        match piped.or(last) {
            Some(value) => Ok(value),
            None => fault(
                offset,
                format!("wrong number of args for {name}: want at least 1 got 0"),
            ),
        }
    }
}
