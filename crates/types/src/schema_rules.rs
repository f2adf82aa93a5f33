//! What makes a schema valid. Checked once, when a collection is created.

use crate::schema::{DataType, Field, Schema};
use crate::{Error, Result, Value, check_field_name, limits};

impl Schema {
    /// Checks every rule of a new schema; the error names the field and the figure.
    pub fn validate(&self) -> Result<()> {
        let declared: Vec<&Field> = self.declared().collect();
        if declared.len() > limits::FIELDS {
            return Err(Error::invalid(format!(
                "maximum field's number should be limited to {}, got {}",
                limits::FIELDS,
                declared.len()
            )));
        }
        for (i, field) in declared.iter().enumerate() {
            check_field_name(&field.name)?;
            if declared[..i].iter().any(|other| other.name == field.name) {
                return Err(Error::invalid(format!("duplicated field name {}", field.name)));
            }
            field.validate()?;
        }
        self.validate_roles()
    }

    fn validate_roles(&self) -> Result<()> {
        match self.fields.iter().filter(|f| f.primary).count() {
            0 => return Err(Error::invalid("schema does not contain a primary key field")),
            1 => {}
            _ => return Err(Error::invalid("there are more than one primary key")),
        }
        match self.vectors().count() {
            0 => return Err(Error::invalid("schema does not contain vector field")),
            n if n > limits::VECTOR_FIELDS => {
                return Err(Error::invalid(format!(
                    "maximum vector field's number should be limited to {}, got {n}",
                    limits::VECTOR_FIELDS
                )));
            }
            _ => {}
        }
        if self.fields.iter().filter(|f| f.partition_key).count() > 1 {
            return Err(Error::invalid("there are more than one partition key"));
        }
        if self.fields.iter().filter(|f| f.clustering_key).count() > 1 {
            return Err(Error::invalid("there are more than one clustering key"));
        }
        Ok(())
    }
}

impl Field {
    fn validate(&self) -> Result<()> {
        self.validate_type_params()?;
        self.validate_key_rules()?;
        if self.data_type.is_vector() && self.nullable {
            return Err(Error::invalid(format!("vector type not support null: field {}", self.name)));
        }
        match &self.default {
            Some(value) => self.validate_default(value),
            None => Ok(()),
        }
    }

    fn validate_type_params(&self) -> Result<()> {
        let name = &self.name;
        match self.data_type {
            DataType::VarChar => self.check_max_length(),
            DataType::FloatVector => match self.dim {
                None => Err(Error::invalid(format!(
                    "dimension is not defined in field type params of field {name}, check type param `dim` for vector field"
                ))),
                Some(dim) if (limits::DIM_MIN..=limits::DIM_MAX).contains(&(dim as i64)) => Ok(()),
                Some(dim) => Err(Error::invalid(format!(
                    "invalid dimension: {dim} of field {name}. float vector dimension should be in range {} ~ {}",
                    limits::DIM_MIN,
                    limits::DIM_MAX
                ))),
            },
            DataType::Array => {
                match self.element {
                    None | Some(DataType::Array | DataType::Json | DataType::FloatVector) => {
                        return Err(Error::invalid(format!(
                            "element type of array field {name} is not supported"
                        )));
                    }
                    Some(DataType::VarChar) => self.check_max_length()?,
                    Some(_) => {}
                }
                match self.max_capacity {
                    None => Err(Error::invalid(format!(
                        "type param(max_capacity) should be specified for array field {name}"
                    ))),
                    Some(n) if (1..=limits::ARRAY_CAPACITY).contains(&(n as i64)) => Ok(()),
                    Some(n) => Err(Error::invalid(format!(
                        "the maximum capacity specified for Array field {name} should be in (0, {}], got {n}",
                        limits::ARRAY_CAPACITY
                    ))),
                }
            }
            _ => Ok(()),
        }
    }

    fn check_max_length(&self) -> Result<()> {
        let name = &self.name;
        match self.max_length {
            None => Err(Error::invalid(format!(
                "type param(max_length) should be specified for the field({name}) of type VarChar"
            ))),
            Some(n) if (1..=limits::VARCHAR_BYTES).contains(&(n as i64)) => Ok(()),
            Some(n) => Err(Error::invalid(format!(
                "the maximum length (max_length) specified for the field({name}) should be in (0, {}], but got {n} instead",
                limits::VARCHAR_BYTES
            ))),
        }
    }

    fn validate_key_rules(&self) -> Result<()> {
        let name = &self.name;
        let key_type = matches!(self.data_type, DataType::Int64 | DataType::VarChar);
        if self.primary {
            if !key_type {
                return Err(Error::invalid(format!(
                    "the data type of primary key should be Int64 or VarChar, field {name} is {}",
                    self.data_type.name()
                )));
            }
            if self.nullable {
                return Err(Error::invalid(format!(
                    "primary field not support null: field {name} cannot be nullable"
                )));
            }
            if self.default.is_some() {
                return Err(Error::invalid(format!("primary field not support default_value: field {name}")));
            }
            if self.partition_key {
                return Err(Error::invalid(format!(
                    "the partition key field must not be primary field: {name}"
                )));
            }
        } else if self.auto_id {
            return Err(Error::invalid(format!(
                "only primary field can speficy AutoID with true, field name = {name}"
            )));
        }
        if self.partition_key {
            if !key_type {
                return Err(Error::invalid(format!(
                    "the data type of partition key should be Int64 or VarChar, field {name} is {}",
                    self.data_type.name()
                )));
            }
            if self.nullable {
                return Err(Error::invalid(format!(
                    "partition key field not support nullable: field {name}"
                )));
            }
        }
        if self.clustering_key && (self.data_type.is_vector() || self.nullable) {
            return Err(Error::invalid(format!(
                "clustering key field {name} must be a scalar that is not nullable"
            )));
        }
        Ok(())
    }

    fn validate_default(&self, value: &Value) -> Result<()> {
        let name = &self.name;
        let bad = || {
            Err(Error::invalid(format!(
                "type ({}) of field ({name}) is not equal to the type(DataType_{}) of default_value",
                self.data_type.name(),
                value.kind()
            )))
        };
        match (self.data_type, value) {
            (DataType::Array | DataType::Json | DataType::FloatVector, _) => Err(Error::invalid(format!(
                "type not support default_value, type:{}, name:{name}",
                self.data_type.name()
            ))),
            (DataType::Bool, Value::Bool(_)) | (DataType::Float | DataType::Double, Value::Float(_)) => {
                Ok(())
            }
            (t, Value::Int(v)) if t.is_integer() => match t.integer_range() {
                Some((lo, hi)) if (lo..=hi).contains(v) => Ok(()),
                _ => Err(Error::invalid(format!(
                    "[{v}] is out of range for {} default value of field {name}",
                    t.name()
                ))),
            },
            (DataType::VarChar, Value::Str(s)) => match self.max_length {
                Some(max) if s.len() > max => Err(Error::invalid(format!(
                    "the length ({}) of string exceeds max length ({max}) of field {name}",
                    s.len()
                ))),
                _ => Ok(()),
            },
            _ => bad(),
        }
    }
}
