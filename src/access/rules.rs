//! What a call needs, read from the privilege annotations of the compiled descriptors: which privilege, on what kind of
//! object, and which fields of the request name the object and its database.

use std::collections::HashMap;

use prost::Message;

use super::privilege::Privilege;
use crate::pb;
use crate::pb::common::PrivilegeExt;
use crate::state::access::{ObjectType, PrivilegeLevel};

/// What is annotated to requests of this package is what clients' calls need.
const MILVUS: &str = "milvus.proto.milvus";
const SERVICE: &str = "MilvusService";
/// Their calls need nothing; the audit reads what they are about.
const INTERNAL: [[&str; 2]; 2] = [["milvus.proto.rootcoord", "RootCoord"], ["roost.catalog.v1", "Catalog"]];
/// Names an object in a message of its own.
const USER_ENTITY: &str = ".milvus.proto.milvus.UserEntity";
/// Calls whose answer depends on nothing but this node and the time: they are let in also without a quorum.
const WITHOUT_STATE: [&str; 5] = ["Connect", "GetVersion", "CheckHealth", "GetComponentStates", "AllocTimestamp"];
/// Calls of the cluster's level whose request names a database that they are about: what is to be made or dropped, or
/// where something is granted. They are asked about in the connection's database, as every other call of that level.
const ABOUT_A_DATABASE: [&str; 3] = ["CreateDatabase", "DropDatabase", "OperatePrivilegeV2"];
/// Of those, what takes something away from a database: whoever may do it to one named database may not to another.
const ENDS_A_DATABASE: &str = "DropDatabase";
/// Fields that name what a call is about, for the audit; the first that a request has.
const SUBJECTS: [&str; 7] = ["alias", "collection_name", "username", "role_name", "group_name", "db_name", "oldName"];

/// What one method needs.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `None`: any user may call it.
    pub need: Option<Need>,
    /// The number of the field with the database's name.
    pub database: Option<u32>,
    /// The privilege is wanted in the connection's database, whichever one the field names.
    pub in_connection: bool,
    /// It is so only while the connection's database is the default one.
    pub in_default_only: bool,
    /// The field with the id of the collection that is meant when the request names none.
    pub collection_id: Option<u32>,
    /// Whether what it answers depends on more than who calls; versions and health are told also without a quorum.
    pub reads_state: bool,
    /// The field that says best what the call is about.
    pub subject: Option<u32>,
}

/// The privilege, and where the request names what it is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub object_type: ObjectType,
    pub privilege: Privilege,
    pub object: ObjectField,
    /// SelectGrant, whose callers may look at their own roles: the field with the grant.
    pub own_roles: Option<u32>,
}

/// Where a request names the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectField {
    /// Nowhere: any.
    Any,
    /// In the text of this field; every occurrence of a repeated one must be allowed.
    Text { number: u32, repeated: bool },
    /// In the name within the user entity of this field.
    User(u32),
}

/// Every method of MilvusService, of RootCoord and of the operator's catalogue, by its path.
#[derive(Debug)]
pub struct Rules {
    by_path: HashMap<String, Rule>,
}

impl Rules {
    /// Reads the descriptors that were compiled in.
    pub fn known() -> Result<Self, prost::DecodeError> {
        let set = Files::decode(pb::FILE_DESCRIPTOR_SET)?;
        let mut messages = HashMap::new();
        for File { package, messages: own, .. } in &set.files {
            messages.extend(own.iter().map(|message| (format!(".{package}.{}", message.name), message)));
        }
        let mut by_path = HashMap::new();
        for (package, service) in set.files.iter().flat_map(|file| file.services.iter().map(|one| (&file.package, one)))
        {
            let named = [package.as_str(), &service.name];
            let internal = INTERNAL.contains(&named);
            if !internal && named != [MILVUS, SERVICE] {
                continue;
            }
            for method in &service.methods {
                let request = messages.get(&method.input).copied();
                let mut rule = Rule::of(request, &method.name);
                if internal {
                    rule.need = None;
                }
                by_path.insert(format!("/{package}.{}/{}", service.name, method.name), rule);
            }
        }
        Ok(Rules { by_path })
    }

    pub fn get(&self, path: &str) -> Option<&Rule> {
        self.by_path.get(path)
    }

    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Rule)> {
        self.by_path.iter().map(|(path, rule)| (path.as_str(), rule))
    }
}

impl Rule {
    /// Whether its request names what it is about.
    pub fn is_about_something(&self) -> bool {
        self.subject.is_some() || self.database.is_some()
    }

    /// `request`: none for those of other packages, which carry no annotations.
    fn of(request: Option<&MessageType>, method: &str) -> Rule {
        let reads_state = !WITHOUT_STATE.contains(&method);
        let Some(request) = request else {
            let (need, database, collection_id, subject) = (None, None, None, None);
            let (in_connection, in_default_only) = (false, false);
            return Rule { need, database, in_connection, in_default_only, collection_id, reads_state, subject };
        };
        let field = |name: &str, kind: i32| {
            let field = request.fields.iter().find(|field| field.name == name && field.kind == kind)?;
            u32::try_from(field.number).ok()
        };
        let text = |name: &str| field(name, Field::TEXT);
        let annotation = request.options.as_ref().and_then(|options| options.privilege);
        Rule {
            need: annotation.and_then(|annotation| Need::of(&annotation, request, method)),
            database: text("db_name"),
            in_connection: ABOUT_A_DATABASE.contains(&method),
            in_default_only: method == ENDS_A_DATABASE,
            collection_id: field("collectionID", Field::INTEGER),
            reads_state,
            subject: SUBJECTS.iter().find_map(|name| text(name)),
        }
    }
}

impl Need {
    fn of(annotation: &PrivilegeExt, request: &MessageType, method: &str) -> Option<Need> {
        let privilege = Privilege::numbered(annotation.object_privilege)?;
        let numbers = [annotation.object_name_index, annotation.object_name_indexs];
        let number = numbers.into_iter().find(|number| *number > 0);
        let object = match number.and_then(|number| request.fields.iter().find(|field| field.number == number)) {
            Some(field) => ObjectField::of(field),
            // Milvus asks for any object here, though privileges of this level are granted on one collection: the
            // collection that the request names is meant, be it by an alias alone.
            None if privilege.level() == Some(PrivilegeLevel::Collection) => {
                let named = |name| request.fields.iter().find(|field| field.name == name);
                named("collection_name").or_else(|| named("alias")).map_or(ObjectField::Any, ObjectField::of)
            }
            None => ObjectField::Any,
        };
        let own_roles = (method == "SelectGrant").then(|| request.fields.iter().find(|field| field.name == "entity"));
        Some(Need {
            object_type: ObjectType::numbered(annotation.object_type)?,
            privilege,
            object,
            own_roles: own_roles.flatten().and_then(|field| u32::try_from(field.number).ok()),
        })
    }
}

impl ObjectField {
    fn of(field: &Field) -> Self {
        let Ok(number) = u32::try_from(field.number) else { return ObjectField::Any };
        match field.kind {
            Field::TEXT => ObjectField::Text { number, repeated: field.label == Field::REPEATED },
            _ if field.type_name == USER_ENTITY => ObjectField::User(number),
            _ => ObjectField::Any,
        }
    }
}

/// The part of descriptor.proto that is needed here, with Milvus' extension, which prost's own types drop.
#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "4")]
    messages: Vec<MessageType>,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
struct MessageType {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    fields: Vec<Field>,
    #[prost(message, optional, tag = "7")]
    options: Option<Options>,
}

#[derive(Clone, PartialEq, Message)]
struct Field {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "3")]
    number: i32,
    #[prost(int32, tag = "4")]
    label: i32,
    #[prost(int32, tag = "5")]
    kind: i32,
    #[prost(string, tag = "6")]
    type_name: String,
}

impl Field {
    const TEXT: i32 = prost_types::field_descriptor_proto::Type::String as i32;
    const INTEGER: i32 = prost_types::field_descriptor_proto::Type::Int64 as i32;
    const REPEATED: i32 = prost_types::field_descriptor_proto::Label::Repeated as i32;
}

#[derive(Clone, PartialEq, Message)]
struct Options {
    #[prost(message, optional, tag = "1001")]
    privilege: Option<PrivilegeExt>,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<MethodType>,
}

#[derive(Clone, PartialEq, Message)]
struct MethodType {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    input: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_those_of_the_annotations() {
        let rules = Rules::known().unwrap();
        let rule = |method: &str| rules.get(&format!("/{MILVUS}.{SERVICE}/{method}")).unwrap();
        let need = |method: &str| rule(method).need.unwrap();
        let text = |number| ObjectField::Text { number, repeated: false };
        let create = need("CreateCollection");
        assert_eq!((create.object_type, create.privilege.name()), (ObjectType::Global, "CreateCollection"));
        assert_eq!(create.object, ObjectField::Any);
        assert_eq!(rule("CreateCollection").database, Some(2));
        let insert = need("Insert");
        assert_eq!((insert.object_type, insert.privilege.name()), (ObjectType::Collection, "Insert"));
        assert_eq!(insert.object, text(3));
        // A privilege of the level of collections, on the collection that is named, perhaps by its alias.
        assert_eq!(need("DescribeCollection").object, text(3));
        assert_eq!(
            (need("DescribeAlias").object, need("DropAlias").object, need("AlterAlias").object),
            (text(3), text(3), text(3))
        );
        for (method, in_connection) in
            [("CreateDatabase", true), ("OperatePrivilegeV2", true), ("AlterDatabase", false), ("Insert", false)]
        {
            assert_eq!(
                (rule(method).in_connection, rule(method).database.is_some()),
                (in_connection, true),
                "{method}"
            );
        }
        assert_eq!(
            (need("UpdateCredential").object_type, need("UpdateCredential").object),
            (ObjectType::User, text(2))
        );
        assert_eq!(need("SelectUser").object, ObjectField::User(2));
        assert_eq!(need("SelectGrant").own_roles, Some(2));
        for free in ["Connect", "GetVersion", "CheckHealth", "AllocTimestamp", "HasCollection", "ShowCollections"] {
            assert_eq!(rule(free).need, None, "{free}");
        }
        for method in WITHOUT_STATE {
            assert!(!rule(method).reads_state, "{method}");
        }
        for method in ["ListDatabases", "ShowCollections", "CreateCollection", "CalcDistance"] {
            assert!(rule(method).reads_state, "{method}");
        }
        assert_eq!((rule("ShowPartitions").collection_id, rule("Insert").collection_id), (Some(4), None));
        let internal = |method: &str| rules.get(&format!("/milvus.proto.rootcoord.RootCoord/{method}")).unwrap();
        assert!(!internal("AllocID").is_about_something());
        assert_eq!((internal("CreateCollection").need, internal("CreateCollection").subject), (None, Some(3)));
        assert_eq!((internal("CreateCredential").need, internal("CreateCredential").subject), (None, Some(1)));
        for method in ["CreateCollection", "AlterCollection", "DropCollection"] {
            let rule = rules.get(&format!("/roost.catalog.v1.Catalog/{method}")).unwrap();
            assert_eq!((rule.need, rule.database, rule.subject), (None, Some(1), Some(2)), "{method}");
        }
        assert!(rules.iter().filter(|(_, rule)| rule.need.is_some()).count() > 20);
    }

    #[test]
    fn every_annotation_is_understood() {
        let set = Files::decode(pb::FILE_DESCRIPTOR_SET).unwrap();
        let requests = set.files.iter().filter(|file| file.package == MILVUS).flat_map(|file| &file.messages);
        let annotated = requests.filter_map(|request| Some((request, request.options.as_ref()?.privilege?)));
        let mut count = 0;
        for (request, annotation) in annotated {
            assert!(Need::of(&annotation, request, "").is_some(), "{} would be free for all", request.name);
            count += 1;
        }
        assert!(count > 20);
    }
}
