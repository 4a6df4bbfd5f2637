//! What a value at some place of a schema consists of, for ownership: which parts have owners of their own.

use serde_json::{Map, Value};

use super::element::{Element, Scalar};
use super::set::Set;
use crate::schema::{Field, ListType, Node, NodeId, Schema};

/// A place in a schema.
#[derive(Clone, Copy)]
pub(super) struct Place<'s> {
    schema: &'s Schema,
    /// `None` below what the schema knows: maps are merged by their keys, everything else is owned as a whole.
    node: Option<NodeId>,
    list: ListType,
    atomic: bool,
}

/// The parts that a value has.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// None: a scalar, or something that is owned as a whole.
    Leaf,
    Object,
    Set,
    Keyed(&'static [&'static str]),
}

impl<'s> Place<'s> {
    pub(super) fn root(schema: &'s Schema) -> Self {
        Self { schema, node: Some(schema.root()), list: ListType::Atomic, atomic: false }
    }

    /// The parts of `value` here. A null has those that its type would have.
    pub(super) fn form(self, value: &Value) -> Form {
        let form = match self.node.map(|id| self.schema.node(id)) {
            Some(Node::Object { atomic, .. }) if !(*atomic || self.atomic) => Form::Object,
            Some(Node::Map(_)) if !self.atomic => Form::Object,
            Some(Node::Array(_)) => match self.list {
                ListType::Atomic => Form::Leaf,
                ListType::Set => Form::Set,
                ListType::Map(keys) => Form::Keyed(keys),
            },
            None | Some(Node::Any) if value.is_object() => Form::Object,
            _ => Form::Leaf,
        };
        let fits = match form {
            Form::Leaf => true,
            Form::Object => value.is_object() || value.is_null(),
            Form::Set | Form::Keyed(_) => value.is_array() || value.is_null(),
        };
        if fits { form } else { Form::Leaf }
    }

    /// The place of a field of an object here, and whether the schema names it.
    pub(super) fn field(self, name: &str) -> (Self, bool) {
        let open = Self { schema: self.schema, node: None, list: ListType::Atomic, atomic: false };
        match self.node.map(|id| self.schema.node(id)) {
            Some(Node::Object { fields, .. }) => match fields.get(name) {
                Some(Field { node, merge }) => {
                    (Self { node: Some(*node), list: merge.list, atomic: merge.atomic_map, ..open }, true)
                }
                None => (open, false),
            },
            Some(Node::Map(values)) => (Self { node: Some(*values), ..open }, false),
            _ => (open, false),
        }
    }

    /// The place of an item of a list here.
    pub(super) fn item(self) -> Self {
        let node = match self.node.map(|id| self.schema.node(id)) {
            Some(Node::Array(items)) => Some(*items),
            _ => None,
        };
        Self { schema: self.schema, node, list: ListType::Atomic, atomic: false }
    }

    /// The place behind an element, and whether it is a field that the schema names.
    pub(super) fn step(self, element: &Element) -> (bool, Self) {
        match element {
            Element::Field(name) => {
                let (place, named) = self.field(name);
                (named, place)
            }
            Element::Key(_) | Element::Value(_) | Element::Index(_) => (false, self.item()),
        }
    }
}

/// Kubernetes' only default of a list key: a port's protocol.
fn key_default(key: &str) -> Option<Scalar> {
    (key == "protocol").then(|| Scalar::String("TCP".to_owned()))
}

/// What identifies an item of a set or of a keyed list; `None` for an item that has none of the keys.
pub(super) fn identity(form: Form, item: &Value) -> Option<Element> {
    match form {
        Form::Keyed(keys) => {
            let item = item.as_object()?;
            let scalar = |key: &&str| match item.get(*key) {
                None | Some(Value::Null) => key_default(key),
                Some(value) => Some(Scalar::from(value)),
            };
            let mut present = false;
            let mut pairs = Vec::with_capacity(keys.len());
            for key in keys {
                present |= item.get(*key).is_some_and(|value| !value.is_null());
                pairs.extend(scalar(key).map(|value| ((*key).to_owned(), value)));
            }
            present.then(|| Element::key(pairs))
        }
        _ => Some(Element::Value(Scalar::from(item))),
    }
}

/// The items of a list with their identities; an item without one is known by its position.
pub(super) fn items(form: Form, list: &Value) -> Vec<(Element, &Value)> {
    let position = |index| Element::Index(i64::try_from(index).unwrap_or(i64::MAX));
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().enumerate().map(|(i, item)| (identity(form, item).unwrap_or_else(|| position(i)), item)).collect()
}

/// The set of everything that a value says.
pub(super) fn set_of(place: Place<'_>, value: &Value) -> Set {
    let mut set = Set::default();
    walk(place, value, &mut Vec::new(), &mut set);
    set
}

fn walk(place: Place<'_>, value: &Value, path: &mut Vec<Element>, set: &mut Set) {
    match place.form(value) {
        Form::Leaf => set.insert(path),
        Form::Object => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let (below, named) = place.field(name);
                path.push(Element::field(name));
                walk(below, value, path, set);
                // A key of a map says something by being there; a field that the type names only when nothing is below it.
                if !named || value.is_null() || value.as_object().is_some_and(Map::is_empty) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        form @ (Form::Set | Form::Keyed(_)) => {
            for (element, item) in items(form, value) {
                path.push(element);
                walk(place.item(), item, path, set);
                set.insert(path);
                path.pop();
            }
        }
    }
}

/// What Go makes of an object of this type in which nothing was set.
pub(super) fn empty(schema: &Schema, id: NodeId) -> Value {
    match schema.node(id) {
        Node::Object { fields, .. } => {
            let present = fields.iter().filter(|(_, field)| field.merge.always_present);
            Value::Object(present.map(|(name, field)| (name.clone(), empty(schema, field.node))).collect())
        }
        Node::Map(_) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}
