//! Filters give what a row-by-row reference gives: growing rows, files, and files with inverted indexes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod reference;
mod world;

use mishards_expr::Templates;
use mishards_proto::schema::{
    ArrayArray, BoolArray, DoubleArray, FieldData, FloatArray, IntArray, JsonArray, LongArray, ScalarField,
    StringArray, scalar_field::Data,
};
use mishards_types::{DataType, Field, Schema};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use reference::{Row, Val, is_true};
use world::*;

const ROWS: i64 = 200;

fn nullable(id: i64, name: &str, data_type: DataType, element: Option<DataType>) -> Field {
    let max_capacity = element.map(|_| 8);
    let max_length =
        matches!((data_type, element), (DataType::VarChar, _) | (_, Some(DataType::VarChar))).then_some(64);
    Field { nullable: true, element, max_capacity, max_length, ..field(id, name, data_type) }
}

fn wide_schema() -> Schema {
    let mut schema = schema();
    schema.fields.truncate(2);
    schema.fields.extend([
        nullable(110, "b", DataType::Bool, None),
        nullable(111, "i8", DataType::Int8, None),
        nullable(112, "i16", DataType::Int16, None),
        nullable(113, "i32", DataType::Int32, None),
        nullable(114, "i64", DataType::Int64, None),
        nullable(115, "f", DataType::Float, None),
        nullable(116, "d", DataType::Double, None),
        nullable(117, "s", DataType::VarChar, None),
        nullable(118, "ai", DataType::Array, Some(DataType::Int64)),
        nullable(119, "at", DataType::Array, Some(DataType::VarChar)),
        nullable(120, "j", DataType::Json, None),
    ]);
    schema
}

const TEXTS: [&str; 7] = ["", "a", "ab", "b", "abc", "ü%_", "B"];
const DOCUMENTS: [&str; 10] = [
    r#"{"x": 3, "y": [1, 2, "a"]}"#,
    r#"{"x": "a", "y": []}"#,
    r#"{"x": 2.5, "y": [[1], {"z": 1}]}"#,
    r#"{"x": null, "y": 1}"#,
    r#"{"x": true, "y": [3]}"#,
    r#"{"y": ["a", "b"]}"#,
    r#"{"x": {"z": 3}}"#,
    r#"{"x": [1]}"#,
    r#"{"x": 3.0}"#,
    "7",
];

/// A small generator, so that the rows are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn int(&mut self, extremes: (i64, i64)) -> i64 {
        match self.roll(12) {
            0 => extremes.0,
            1 => extremes.1,
            _ => self.roll(9) as i64 - 4,
        }
    }

    fn text(&mut self) -> Val {
        Val::Str(TEXTS[self.roll(TEXTS.len() as u64) as usize].to_owned())
    }

    fn value(&mut self, field: &Field) -> Val {
        if self.roll(5) == 0 {
            return Val::Null;
        }
        match (field.data_type, field.element) {
            (DataType::Bool, _) => Val::Bool(self.roll(2) == 0),
            (DataType::Float, _) => Val::Float((self.int((-4, 4)) as f32 * 0.7).into()),
            (DataType::Double, _) => Val::Float(self.int((-4, 4)) as f64 * 0.5),
            (DataType::VarChar, _) => self.text(),
            (DataType::Array, Some(DataType::VarChar)) => {
                Val::List((0..self.roll(4)).map(|_| self.text()).collect())
            }
            (DataType::Array, _) => {
                Val::List((0..self.roll(4)).map(|_| Val::Int(self.int((i64::MIN, i64::MAX)))).collect())
            }
            (DataType::Json, _) => Val::Json(DOCUMENTS[self.roll(DOCUMENTS.len() as u64) as usize]),
            (integer, _) => Val::Int(self.int(integer.integer_range().unwrap_or_default())),
        }
    }
}

fn random_rows(schema: &Schema) -> Vec<Row> {
    let mut dice = Dice(7);
    (0..ROWS)
        .map(|key| {
            let mut row: Row = schema.fields[2..].iter().map(|f| (f.id, dice.value(f))).collect();
            row.insert(schema.fields[0].id, Val::Int(key));
            row
        })
        .collect()
}

fn payload(data_type: DataType, element: Option<DataType>, values: &[Val]) -> Data {
    let ints = || values.iter().map(|v| if let Val::Int(v) = v { *v } else { 0 });
    let floats = || values.iter().map(|v| if let Val::Float(v) = v { *v } else { 0.0 });
    let texts = || values.iter().map(|v| if let Val::Str(v) = v { v.clone() } else { String::new() });
    match data_type {
        DataType::Bool => {
            Data::BoolData(BoolArray { data: values.iter().map(|v| *v == Val::Bool(true)).collect() })
        }
        DataType::Int64 => Data::LongData(LongArray { data: ints().collect() }),
        DataType::Float => Data::FloatData(FloatArray { data: floats().map(|v| v as f32).collect() }),
        DataType::Double => Data::DoubleData(DoubleArray { data: floats().collect() }),
        DataType::VarChar => Data::StringData(StringArray { data: texts().collect() }),
        DataType::Json => {
            let text =
                |v: &Val| if let Val::Json(text) = v { text.as_bytes().to_vec() } else { b"{}".to_vec() };
            Data::JsonData(JsonArray { data: values.iter().map(text).collect() })
        }
        DataType::Array => {
            let element = element.unwrap();
            let items = |v: &Val| if let Val::List(items) = v { items.clone() } else { Vec::new() };
            let list =
                |v: &Val| ScalarField { data: Some(payload(element, None, &items(v))), ..Default::default() };
            Data::ArrayData(ArrayArray {
                data: values.iter().map(list).collect(),
                element_type: element as i32,
            })
        }
        _ => Data::IntData(IntArray { data: ints().map(|v| v as i32).collect() }),
    }
}

fn wire_columns(schema: &Schema, rows: &[Row]) -> Vec<FieldData> {
    let keys: Vec<i64> = (0..ROWS).collect();
    let column = |field: &Field| {
        let values: Vec<Val> = rows.iter().map(|r| r[&field.id].clone()).collect();
        let valid = values.iter().map(|v| *v != Val::Null).collect();
        let valid = if field.nullable { valid } else { Vec::new() };
        scalars(field.id.0, payload(field.data_type, field.element, &values), valid)
    };
    let of = |field: &Field| if field.data_type.is_vector() { vectors(&keys) } else { column(field) };
    schema.fields.iter().map(of).collect()
}

/// A constant or a list of constants, as text, for a field.
fn ints() -> impl Strategy<Value = String> {
    prop_oneof![8 => (-5i64..6).prop_map(|v| v.to_string()), 1 => Just("9223372036854775807".to_owned())]
}

fn numbers() -> impl Strategy<Value = String> {
    prop_oneof![ints(), (-9i32..10).prop_map(|v| format!("{:?}", f64::from(v) * 0.5)), Just("0.7".to_owned())]
}

fn texts() -> impl Strategy<Value = String> {
    prop::sample::select(TEXTS.to_vec()).prop_map(|t| format!("{t:?}"))
}

fn list(of: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::collection::vec(of, 1..4).prop_map(|items| format!("[{}]", items.join(", ")))
}

fn pick(of: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(of)
}

fn leaf() -> BoxedStrategy<String> {
    const OPS: &[&str] = &["==", "!=", "<", "<=", ">", ">="];
    const INTS: &[&str] = &["i8", "i16", "i32", "i64", "id", "ai[0]", "ai[2]", "array_length(ai)"];
    const NUMBERS: &[&str] = &["i8", "i64", "f", "d", "j[\"x\"]", "j[\"y\"][0]"];
    const TEXT: &[&str] = &["s", "at[1]", "j[\"x\"]", "j[\"y\"][0]"];
    const NOT: &[&str] = &["in", "not in"];
    const MODES: &[&str] = &["_all", "_any"];
    prop_oneof![
        (pick(INTS), pick(OPS), ints()).prop_map(|(f, op, v)| format!("{f} {op} {v}")),
        (pick(NUMBERS), pick(OPS), numbers()).prop_map(|(f, op, v)| format!("{f} {op} {v}")),
        (pick(TEXT), pick(OPS), texts()).prop_map(|(f, op, v)| format!("{f} {op} {v}")),
        (pick(&["b", "j[\"x\"]"]), pick(&["==", "!="]), pick(&["true", "false"]))
            .prop_map(|(f, op, v)| format!("{f} {op} {v}")),
        (pick(&["i8", "i64", "id", "j[\"x\"]"]), pick(NOT), list(ints()))
            .prop_map(|(f, n, v)| format!("{f} {n} {v}")),
        (pick(&["f", "d", "j[\"x\"]"]), pick(NOT), list(numbers()))
            .prop_map(|(f, n, v)| format!("{f} {n} {v}")),
        (pick(TEXT), pick(NOT), list(texts())).prop_map(|(f, n, v)| format!("{f} {n} {v}")),
        (pick(TEXT), pick(&["a%", "%b", "a%c", "_b%", "%", "ab", "_", "ü\\\\%%", "%b%"]))
            .prop_map(|(f, p)| format!("{f} like \"{p}\"")),
        (ints(), pick(&["i8", "i64", "f"]), ints()).prop_map(|(a, f, b)| format!("{a} < {f} <= {b}")),
        (pick(&["i16", "i64", "d"]), pick(&["+", "-", "*", "/"]), 1i64..4, pick(OPS), numbers())
            .prop_map(|(f, a, c, op, v)| format!("{f} {a} {c} {op} {v}")),
        (pick(&["i32", "i64"]), 1i64..4, pick(OPS), ints())
            .prop_map(|(f, c, op, v)| format!("{f} % {c} {op} {v}")),
        (
            pick(&["b", "i8", "i64", "f", "s", "ai", "at", "j", "j[\"x\"]", "j[\"x\"][\"z\"]"]),
            pick(&["is null", "is not null"])
        )
            .prop_map(|(f, n)| format!("{f} {n}")),
        pick(&["x", "y", "w"]).prop_map(|k| format!("exists j[{k:?}]")),
        ints().prop_map(|v| format!("array_contains(ai, {v})")),
        texts().prop_map(|v| format!("array_contains(at, {v})")),
        (pick(MODES), list(ints())).prop_map(|(m, v)| format!("array_contains{m}(ai, {v})")),
        (pick(MODES), list(texts())).prop_map(|(m, v)| format!("json_contains{m}(j[\"y\"], {v})")),
        ints().prop_map(|v| format!("json_contains(j[\"y\"], {v})")),
    ]
    .boxed()
}

fn filter() -> impl Strategy<Value = String> {
    leaf().prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|p| format!("not ({p})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and ({b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a}) or ({b})")),
        ]
    })
}

/// A site with the rows, and the scope that has them all.
async fn site_with(rows: &[Row], flushed: bool, indexed: bool) -> (Site, Pinned) {
    let (world, schema) = (World::new(), wide_schema());
    let site = world.start().await;
    site.create_collection(schema.clone()).await.unwrap();
    let partition_id = site.partition("_default").id.0;
    let columns = wire_columns(&schema, rows);
    let part = mishards_proto::node::PartitionRows { partition_id, rows: ROWS as u32, columns };
    site.write(|w| w.inserts = vec![part]).await.unwrap();
    if flushed {
        site.flush().await.unwrap();
    }
    if indexed {
        let fields =
            schema.fields.iter().filter(|f| !f.data_type.is_vector() && f.data_type != DataType::Json);
        for field in fields.clone() {
            site.create_index(&field.name, "INVERTED", None).await.unwrap();
        }
        let count = fields.count();
        eventually("indexes", async || site.segments().iter().all(|s| s.indexes.len() == count)).await;
    }
    let pinned = site.pin().await;
    (site, pinned)
}

#[test]
fn filters_give_what_the_reference_gives() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (schema, rows) = (wide_schema(), random_rows(&wide_schema()));
    let sites = runtime.block_on(async {
        let (growing, file) = tokio::join!(site_with(&rows, false, false), site_with(&rows, true, false));
        [("growing", growing), ("in a file", file), ("indexed", site_with(&rows, true, true).await)]
    });
    let mut compiled = 0;
    let mut runner = TestRunner::new(Config { cases: 1500, failure_persistence: None, ..Config::default() });
    let mut check = |text: String| {
        let Ok(predicate) = mishards_expr::compile(&text, &Templates::new(), &schema) else {
            return Err(TestCaseError::reject("it does not type-check"));
        };
        compiled += 1;
        let expected: Vec<i64> = (0..ROWS).filter(|k| is_true(&predicate, &rows[*k as usize])).collect();
        for (state, (site, pinned)) in &sites {
            let mut scope = pinned.whole();
            scope.filter.clone_from(&text);
            let found = runtime.block_on(keys(&site.node, scope)).unwrap();
            prop_assert_eq!(&found, &expected, "{} of {} rows", state, &text);
        }
        Ok(())
    };
    let check = std::cell::RefCell::new(&mut check);
    runner.run(&filter(), |text| (check.borrow_mut())(text)).unwrap();
    assert!(compiled >= 1500);
}
