//! What a user sees of the catalog: in Milvus whoever may do nothing with a collection does not find it in a listing,
//! and is refused its description.

use std::sync::Arc;

use super::book::Policy;
use super::policy::UserPolicy;
use super::{Accounts, PolicyBook};
use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::pb::milvus::{DescribeCollectionResponse, ListDatabasesResponse, ShowCollectionsResponse};
use crate::state::access::{ADMIN, ROOT};

/// See the module.
pub enum Sight {
    Everything,
    Of(Arc<Policy>, Arc<UserPolicy>),
}

impl Sight {
    /// Whether one of the user's own roles has any privilege of the level of collections on it. What everybody has does
    /// not count.
    pub fn shows(&self, database: &str, collection: &str) -> bool {
        match self {
            Sight::Everything => true,
            Sight::Of(policy, user) => user.touches(database, collection, policy.groups()),
        }
    }

    /// Whether one of the user's own roles has any grant in the database, or in all of them.
    pub fn shows_database(&self, database: &str) -> bool {
        match self {
            Sight::Everything => true,
            Sight::Of(_, user) => user.touches_database(database),
        }
    }

    /// Leaves out of a listing of databases what is not seen.
    pub fn filter_databases(&self, list: &mut ListDatabasesResponse) {
        let seen: Vec<bool> = list.db_names.iter().map(|name| self.shows_database(name)).collect();
        keep(&mut list.db_names, &seen);
        keep(&mut list.created_timestamp, &seen);
        keep(&mut list.db_ids, &seen);
    }

    /// Refuses the description of a database that is not seen.
    pub fn check_database(&self, name: &str) -> Result<(), Rejection> {
        match self.shows_database(name) {
            true => Ok(()),
            false => {
                let detail = format!("not allowed to access database, db name: {name}");
                Err(Rejection::NotPermitted { detail })
            }
        }
    }

    /// Leaves out of a listing what is not seen.
    pub fn filter(&self, database: &str, list: &mut ShowCollectionsResponse) {
        let seen: Vec<bool> = list.collection_names.iter().map(|name| self.shows(database, name)).collect();
        if seen.iter().all(|seen| *seen) {
            return;
        }
        keep_lines(list, &seen);
    }

    /// Refuses the description of what is not seen.
    pub fn check(&self, described: &DescribeCollectionResponse) -> Result<(), Rejection> {
        let name = &described.collection_name;
        match self.shows(&described.db_name, name) {
            true => Ok(()),
            false => {
                let detail = format!("not allowed to access collection, collection name: {name}");
                Err(Rejection::NotPermitted { detail })
            }
        }
    }
}

/// Leaves out of a listing of collections, a line of which is an entry in each of its lists, what is not seen.
pub fn keep_lines(list: &mut ShowCollectionsResponse, seen: &[bool]) {
    keep(&mut list.collection_names, seen);
    keep(&mut list.collection_ids, seen);
    keep(&mut list.created_timestamps, seen);
    keep(&mut list.created_utc_timestamps, seen);
    keep(&mut list.in_memory_percentages, seen);
    keep(&mut list.query_service_available, seen);
    keep(&mut list.shards_num, seen);
}

/// Lists beside each other; those that are not filled are empty.
fn keep<T>(list: &mut Vec<T>, seen: &[bool]) {
    let mut seen = seen.iter();
    list.retain(|_| seen.next().copied().unwrap_or(true));
}

impl Accounts {
    /// What the caller sees. Its name was verified if there is authorization; without, everybody sees everything.
    pub fn sight(&self, policy: &PolicyBook, call: &Call) -> Result<Sight, Failure> {
        let root = call.principal == ROOT && !self.security.root_should_bind_role;
        if !self.security.authorization_enabled || root {
            return Ok(Sight::Everything);
        }
        let policy = policy.current()?;
        match policy.user(&call.principal).cloned() {
            Some(user) if user.has_role(ADMIN) => Ok(Sight::Everything),
            Some(user) => Ok(Sight::Of(policy, user)),
            None => {
                let detail = format!("there is no user {} any more", call.principal);
                Err(Rejection::NotAuthenticated { detail }.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::policy::{Groups, RolePolicy};
    use crate::state::access::{GrantKey, ObjectType};

    fn sight(grants: &[(ObjectType, &str, &str, &str)]) -> Sight {
        let key = |(object_type, database, object, privilege): &(ObjectType, &str, &str, &str)| GrantKey {
            role: "r".into(),
            object_type: *object_type,
            database: database.to_string(),
            object: object.to_string(),
            privilege: privilege.to_string(),
        };
        let role = RolePolicy::compile("r", grants.iter().map(|grant| (key(grant), None)).collect(), &Groups::new());
        let replica = crate::testing::SoloReplica::new();
        let policy = PolicyBook::new(replica).current().unwrap();
        Sight::Of(policy, Arc::new(UserPolicy::new("".into(), 1, vec![Arc::new(role)])))
    }

    #[test]
    fn a_listing_keeps_its_columns_together() {
        let mut list = ShowCollectionsResponse {
            collection_names: ["a", "b", "c"].map(str::to_owned).into(),
            collection_ids: vec![1, 2, 3],
            shards_num: vec![7, 8, 9],
            ..ShowCollectionsResponse::default()
        };
        sight(&[(ObjectType::Collection, "default", "b", "PrivilegeLoad")]).filter("default", &mut list);
        assert_eq!((list.collection_names, list.collection_ids, list.shards_num), (vec!["b".into()], vec![2], vec![8]));
    }

    #[test]
    fn any_grant_in_a_database_shows_it() {
        let list = |sight: &Sight| {
            let mut list = ListDatabasesResponse {
                db_names: ["default", "sales", "stock"].map(str::to_owned).into(),
                db_ids: vec![1, 2, 3],
                created_timestamp: vec![4, 5, 6],
                ..ListDatabasesResponse::default()
            };
            sight.filter_databases(&mut list);
            list
        };
        let one = sight(&[(ObjectType::Collection, "sales", "books", "PrivilegeLoad")]);
        let seen = list(&one);
        assert_eq!((seen.db_names, seen.db_ids, seen.created_timestamp), (vec!["sales".into()], vec![2], vec![5]));
        one.check_database("sales").unwrap();
        let refusal = one.check_database("stock").unwrap_err();
        assert_eq!(refusal.code(), 1401);
        assert!(refusal.reason().starts_with("not allowed to access database, db name: stock"), "{refusal}");
        assert_eq!(list(&sight(&[(ObjectType::Global, "*", "*", "PrivilegeListDatabases")])).db_ids, [1, 2, 3]);
        assert!(list(&sight(&[])).db_names.is_empty());
        assert_eq!(list(&Sight::Everything).db_ids, [1, 2, 3]);
    }

    #[test]
    fn any_privilege_on_a_collection_shows_it() {
        use ObjectType::*;
        for (grant, shown) in [
            ((Collection, "default", "books", "PrivilegeLoad"), true),
            ((Collection, "*", "*", "PrivilegeLoad"), true),
            ((Global, "default", "books", "PrivilegeGroupCollectionReadOnly"), true),
            ((Global, "default", "*", "PrivilegeAll"), true),
            ((Collection, "sales", "books", "PrivilegeLoad"), false),
            ((Collection, "default", "maps", "PrivilegeLoad"), false),
            ((Global, "default", "*", "PrivilegeGroupDatabaseAdmin"), false),
            ((Global, "*", "*", "PrivilegeGroupClusterAdmin"), false),
            // A custom group, whatever it holds.
            ((Global, "default", "books", "some_group"), true),
            ((Global, "default", "*", "some_group"), true),
            ((Global, "default", "maps", "some_group"), false),
        ] {
            let sight = sight(&[grant]);
            assert_eq!(sight.shows("default", "books"), shown, "{grant:?}");
            let (collection_name, db_name) = ("books".to_owned(), "default".to_owned());
            let described = DescribeCollectionResponse { collection_name, db_name, ..Default::default() };
            assert_eq!(
                sight.check(&described).map_err(|refused| refused.code()),
                if shown { Ok(()) } else { Err(1401) }
            );
        }
    }
}
