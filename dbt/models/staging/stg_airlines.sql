select airline_key, name as airline
from {{ source('operations', 'dim_airline') }}
