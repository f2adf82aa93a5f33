//! The schema of a collection.

use crate::{FieldId, Key, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of the JSON field that keeps undeclared keys.
pub const DYNAMIC_FIELD: &str = "$meta";
/// The first field id that a user's field gets.
pub const FIRST_FIELD_ID: i64 = 100;

/// Types that a field can have; numbers are Milvus's `schema.DataType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DataType {
    Bool = 1,
    Int8 = 2,
    Int16 = 3,
    Int32 = 4,
    Int64 = 5,
    Float = 10,
    Double = 11,
    VarChar = 21,
    Array = 22,
    Json = 23,
    FloatVector = 101,
}

impl DataType {
    /// Reads the wire number; `None` for types that are not supported.
    pub fn from_wire(number: i32) -> Option<DataType> {
        use DataType::*;
        [Bool, Int8, Int16, Int32, Int64, Float, Double, VarChar, Array, Json, FloatVector]
            .into_iter()
            .find(|t| *t as i32 == number)
    }

    pub fn is_vector(self) -> bool {
        matches!(self, DataType::FloatVector)
    }

    pub fn is_integer(self) -> bool {
        matches!(self, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
    }

    pub fn is_float(self) -> bool {
        matches!(self, DataType::Float | DataType::Double)
    }

    pub fn is_numeric(self) -> bool {
        self.is_integer() || self.is_float()
    }

    /// Smallest and largest value of an integer type.
    pub fn integer_range(self) -> Option<(i64, i64)> {
        match self {
            DataType::Int8 => Some((i8::MIN.into(), i8::MAX.into())),
            DataType::Int16 => Some((i16::MIN.into(), i16::MAX.into())),
            DataType::Int32 => Some((i32::MIN.into(), i32::MAX.into())),
            DataType::Int64 => Some((i64::MIN, i64::MAX)),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            DataType::Bool => "Bool",
            DataType::Int8 => "Int8",
            DataType::Int16 => "Int16",
            DataType::Int32 => "Int32",
            DataType::Int64 => "Int64",
            DataType::Float => "Float",
            DataType::Double => "Double",
            DataType::VarChar => "VarChar",
            DataType::Array => "Array",
            DataType::Json => "JSON",
            DataType::FloatVector => "FloatVector",
        }
    }
}

/// One field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    pub id: FieldId,
    pub name: String,
    pub data_type: DataType,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub primary: bool,
    #[serde(default)]
    pub auto_id: bool,
    #[serde(default)]
    pub partition_key: bool,
    #[serde(default)]
    pub clustering_key: bool,
    #[serde(default)]
    pub dynamic: bool,
    #[serde(default)]
    pub nullable: bool,
    #[serde(default)]
    pub default: Option<Value>,
    /// Element type of an Array.
    #[serde(default)]
    pub element: Option<DataType>,
    /// Components of a vector.
    #[serde(default)]
    pub dim: Option<usize>,
    /// Bytes of a VarChar, or of an Array's VarChar element.
    #[serde(default)]
    pub max_length: Option<usize>,
    /// Elements of an Array.
    #[serde(default)]
    pub max_capacity: Option<usize>,
    /// Type parameters as the client gave them, echoed by describe.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
}

impl Field {
    /// A field with nothing set but what every field has.
    pub fn new(id: FieldId, name: impl Into<String>, data_type: DataType) -> Field {
        Field {
            id,
            name: name.into(),
            data_type,
            description: String::new(),
            primary: false,
            auto_id: false,
            partition_key: false,
            clustering_key: false,
            dynamic: false,
            nullable: false,
            default: None,
            element: None,
            dim: None,
            max_length: None,
            max_capacity: None,
            params: BTreeMap::new(),
        }
    }
}

/// The fields of a collection, the dynamic field included (it is last).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    #[serde(default)]
    pub description: String,
    pub fields: Vec<Field>,
    #[serde(default)]
    pub enable_dynamic: bool,
}

impl Schema {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }

    pub fn field_by_id(&self, id: FieldId) -> Option<&Field> {
        self.fields.iter().find(|f| f.id == id)
    }

    /// The primary key; every valid schema has one.
    pub fn primary(&self) -> Option<&Field> {
        self.fields.iter().find(|f| f.primary)
    }

    pub fn partition_key(&self) -> Option<&Field> {
        self.fields.iter().find(|f| f.partition_key)
    }

    pub fn dynamic(&self) -> Option<&Field> {
        self.fields.iter().find(|f| f.dynamic)
    }

    pub fn vectors(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|f| f.data_type.is_vector())
    }

    /// Fields that a user declared.
    pub fn declared(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|f| !f.dynamic)
    }

    /// Whether `key` is of the primary key's type.
    pub fn key_fits(&self, key: &Key) -> bool {
        let string = self.primary().is_some_and(|f| f.data_type == DataType::VarChar);
        matches!(key, Key::Str(_)) == string
    }
}
